import { Component, html } from "../../vendor/preact.js";
import { clock } from "../../lib/time.js";
import { Icon } from "../../ui/Icon.js";
import { IconButton } from "../../ui/IconButton.js";
import { isAbout } from "../spaces/spaces.js";
import { MessageState } from "./MessageState.js";

/** One message: its text as the server made it safe, its state, and the actions that fit. Draws again only when it changed. */
export class Message extends Component {
  text = null;

  shouldComponentUpdate(next) {
    return ["message", "isMine", "isSent", "isEditing", "mayRemove", "name"].some((prop) => next[prop] !== this.props[prop]);
  }

  componentDidMount() {
    this.finishText();
  }

  componentDidUpdate() {
    this.finishText();
  }

  /** The server's text is the same for everybody: which mention is ours is only known here, and what scrolls here too. */
  finishText() {
    const { my } = this.props;
    const mine = new Set([String(my.id), "all"]);
    for (const mention of this.text?.querySelectorAll(".mention") ?? []) mention.classList.toggle("mention-you", mine.has(mention.dataset.user));
    for (const box of this.text?.querySelectorAll("pre, table") ?? []) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    this.rankHeadings();
  }

  /** Below the page's own heading, whatever rank they were typed with, and without a gap between ranks. */
  rankHeadings() {
    const headings = [...(this.text?.querySelectorAll("h1, h2, h3, h4, h5, h6") ?? [])];
    const highest = Math.min(...headings.map((heading) => Number(heading.tagName[1])));
    let rank = 1;
    for (const heading of headings) {
      rank = Math.min(Number(heading.tagName[1]) - highest + 2, rank + 1);
      heading.ariaLevel = String(rank);
    }
  }

  render({ message, name, my, isMine, isSent, isEditing, actions, mayRemove }) {
    const isAboutMe = !isMine && isAbout(message, my.id) && !message.deleted_at;
    const classes = ["msg", isAboutMe && "msg-you", isEditing && "msg-editing", message.deleted_at && "msg-gone"].filter(Boolean).join(" ");
    return html`
      <article class=${classes} tabindex="-1" data-id=${message.key ?? message.id} data-state=${message.state ?? undefined}
        aria-label=${`${name}, ${clock(message.created_at)}`}>
        ${this.body(message)}
        ${message.edited_at && !message.deleted_at && html`<span class="msg-note">edited</span>`}
        <${MessageState} message=${message} isSent=${isSent} actions=${actions} />
        ${!message.state && !message.deleted_at && html`
          <div class="msg-tools" role="toolbar" aria-label="Message actions">
            ${isMine && html`<${IconButton} small smallIcon=${false} icon="pen-line" label="Edit" tabindex="-1" onClick=${(event) => actions.edit(message, event)} />`}
            <${IconButton} small smallIcon=${false} icon="copy" label="Copy the text" tabindex="-1" onClick=${() => actions.copy(message)} />
            ${mayRemove && html`<${IconButton} small smallIcon=${false} icon="trash-2" label="Remove" tabindex="-1" onClick=${() => actions.remove(message)} />`}
          </div>`}
      </article>`;
  }

  body(message) {
    if (message.deleted_at) return html`<p class="msg-text"><${Icon} name="trash-2" small />Message removed</p>`;
    const ref = (element) => (this.text = element);
    if (message.html === null) return html`<div class="msg-text msg-plain" dir="auto" ref=${ref}>${message.content}</div>`;
    return html`<div class="msg-text" dir="auto" ref=${ref} dangerouslySetInnerHTML=${{ __html: message.html }}></div>`;
  }
}
