import { html } from "../../vendor/preact.js";
import { clock, dayLabel } from "../../lib/time.js";
import { newMessages, plural } from "../../lib/words.js";
import { Icon } from "../../ui/Icon.js";
import { LoadError } from "../../ui/LoadError.js";
import { daysOf } from "./grouping.js";
import { Group } from "./Group.js";
import { Scroller } from "./Scroller.js";

/**
 * The messages of a room by day and author. One Tab stop: arrows move between messages, Enter opens their actions,
 * E edits, Esc goes back to the text.
 */
export function Feed({ space, room, state, items, my, roles, actions }) {
  const days = daysOf([...state.messages, ...items], state.line, my.id);
  const onKeyDown = (event) => moveByKey(event, state.messages, actions);
  const isLineAbove = Boolean(state.line && state.hasOlder && state.messages[0]?.id > state.line.afterId);

  return html`
    <${Scroller} label=${`Messages in ${space.name}`} goTo=${state.goTo} onEnd=${room.seeEnd} onNearTop=${() => !state.olderError && room.loadOlder()}
      onNearEnd=${room.loadNewer} onKeyDown=${onKeyDown}>
      ${state.status === "error" && html`<${LoadError} what="The messages" error=${state.error} retry=${room.open} />`}
      ${state.olderError && html`<${LoadError} what="Older messages" error=${state.olderError} retry=${room.loadOlder} />`}
      ${state.loading === "older" && html`<p class="feed-more"><${Icon} name="loader-circle" small />Older messages</p>`}
      ${!state.hasOlder && state.messages.length > 0 && html`<p class="feed-start">This is where ${space.name} begins.</p>`}
      ${days.map((day) => html`
        <section class="day-box" key=${day.day} aria-label=${dayLabel(day.at)}>
          <div class="day" aria-hidden="true">${dayLabel(day.at)}</div>
          ${day.groups.map((group) => [
            group.hasLine && html`<${UnreadLine} key=${`line ${group.key}`} line=${state.line} />`,
            html`<${Group} key=${group.key} group=${group} my=${my} role=${roles.get(group.author.id)} actions=${actions} mayRemoveAll=${actions.mayRemoveAll} />`,
          ])}
        </section>`)}
    <//>
    <div class="feed-edge">
      ${isLineAbove && html`
        <button class="btn btn-s feed-first" type="button" onClick=${room.goToFirstUnread}>
          <${Icon} name="arrow-up" small />${newMessages(state.line.count)}, go to the first</button>`}
      ${(state.hasNewer || state.isAway) && html`<${JumpDown} room=${room} below=${state.below} />`}
    </div>`;
}

function JumpDown({ room, below }) {
  const words = below ? plural(below, "new message") : "Newest messages";
  return html`
    <button class=${below ? "btn btn-s jump-down" : "ib jump-down"} type="button" aria-label=${words} data-tip=${below ? undefined : words}
      onClick=${room.goToNewest}><${Icon} name="arrow-down" small=${below > 0} />${below > 0 && words}</button>`;
}

function UnreadLine({ line }) {
  const words = `New${line.since ? ` since ${clock(line.since)}` : ""} · ${newMessages(line.count, "message")}`;
  return html`<div class="unread" role="separator" data-line="" aria-label=${words}><span>${words}</span></div>`;
}

/** A toolbar is one stop: arrows move between its buttons, Escape goes back to its message. */
function moveInTools(event, buttons) {
  if (event.key === "Escape") return focusMessage(event, event.target.closest("[data-id]"));
  const forward = getComputedStyle(event.target).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return undefined;
  event.preventDefault();
  const at = buttons.indexOf(event.target.closest("button")) + (forward === "ArrowRight" ? step : -step);
  return buttons.at(at % buttons.length).focus();
}

function moveByKey(event, messages, actions) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("a, input, textarea, [role=menu], .msg-tools")) {
    const tools = event.target.closest(".msg-tools");
    if (tools) moveInTools(event, [...tools.querySelectorAll("button")]);
    return;
  }
  const box = event.currentTarget;
  const all = [...box.querySelectorAll("[data-id]")];
  const at = all.indexOf(document.activeElement.closest?.("[data-id]"));
  const message = messages.find((item) => String(item.id) === all[at]?.dataset.id);
  switch (event.key) {
    case "ArrowUp":
      return focusMessage(event, at < 0 ? all.at(-1) : all[Math.max(0, at - 1)]);
    case "ArrowDown":
      return at >= 0 && at === all.length - 1 ? actions.focusComposer(event) : focusMessage(event, at < 0 ? all.at(-1) : all[at + 1]);
    case "End":
      event.preventDefault();
      return actions.goToNewest();
    case "Enter":
      event.preventDefault();
      return all[at]?.querySelector(".msg-tools button")?.focus();
    case "e":
    case "E":
      return message && actions.edit(message, event);
    case "Escape":
      return actions.focusComposer(event);
    default:
      return undefined;
  }
}

function focusMessage(event, element) {
  event.preventDefault();
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
}
