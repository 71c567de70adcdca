import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { copyText } from "../../lib/clipboard.js";
import { canWrite, closedFor, freshness, freshOf } from "../../lib/freshness.js";
import { bindKeys } from "../../lib/keyboard.js";
import { enqueue, outbox, sendAgain, takeBack } from "../../lib/outbox.js";
import { explain } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { plural } from "../../lib/words.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { freshWords } from "../../ui/FreshLine.js";
import { Head } from "../../ui/Head.js";
import { IconButton } from "../../ui/IconButton.js";
import { LoadError } from "../../ui/LoadError.js";
import { Seal } from "../../ui/Seal.js";
import { ChatSkeleton, useSkeleton } from "../../ui/Skeleton.js";
import { toast } from "../../ui/toasts.js";
import { session } from "../accounts/session.js";
import { loadMembers, useMembers } from "../spaces/members.js";
import { SpaceMenu } from "../spaces/SpaceMenu.js";
import { isOrganiser, roleWord } from "../spaces/spaces.js";
import { ChatEmpty } from "./ChatEmpty.js";
import { Composer } from "./Composer.js";
import { keepDraft, keepEdit, readDraft, readEdit } from "./drafts.js";
import { Feed } from "./Feed.js";
import { asItems } from "./grouping.js";
import { editMessage, removeMessage } from "./messages.js";
import { roomOf } from "./room.js";

/** The chat of a space. Mount it with the space's id as key: it enters and leaves the room. */
export function Chat({ space, actions: spaceActions, strip }) {
  const room = roomOf(space.id);
  const state = useStore(room.store);
  const my = useStore(session, (current) => current.user);
  const entries = useStore(outbox, (current) => current.entries);
  const { items: members } = useMembers(space.id);
  const sub = useStore(freshness, (current) => subtitle(freshOf(current), space));
  const waitsFor = useStore(freshness, (current) => (canWrite(current) ? null : current.lostSince !== null ? "line" : closedFor(current) ? "maintenance" : "primary"));
  const [editing, setEditing] = useEdit(space.id);
  const [removing, setRemoving] = useState(null);
  const [composerKey, setComposerKey] = useState(0);
  const field = useRef(null);
  const skeleton = useSkeleton(state.status === "loading");

  useEffect(() => {
    room.open();
    loadMembers(space.id);
    const onVisible = () => room.markRead();
    document.addEventListener("visibilitychange", onVisible);
    const unbind = bindKeys({ "shift+u": () => room.goToFirstUnread() });
    return () => {
      document.removeEventListener("visibilitychange", onVisible);
      unbind();
      room.close();
    };
  }, []);

  const actions = useChatActions({ room, state, space, my, setEditing, setRemoving, setComposerKey, field, editing });
  const roles = new Map(members.filter(({ role }) => isOrganiser(role)).map(({ user, role }) => [user.id, roleWord(role)]));
  const items = asItems(entries.filter((entry) => entry.spaceId === space.id), my);
  const showsFeed = state.status === "ready" || (state.status === "error" && items.length > 0); // what waits here is always shown
  const isEmpty = state.status === "ready" && state.messages.length === 0 && !state.hasOlder && items.length === 0;

  return html`
    <${Head} title=${space.name} sub=${sub} focusKey=${`chat ${space.id}`}
      before=${html`<span class="hide-phone"><${Seal} space=${space} size="l" /></span>`}>
      <${IconButton} icon="users" label="Members" kind="only-tablet" onClick=${spaceActions.showMembers} />
      <${SpaceMenu} space=${space} actions=${spaceActions} here="chat" />
    <//>
    ${strip}
    <div class="feed" data-wall=${wallOf(space)}>
      ${showsFeed && !skeleton && !isEmpty
        ? html`<${Feed} key="feed" space=${space} room=${room} state=${state} items=${state.hasNewer ? [] : items} my=${my} roles=${roles} actions=${actions} />`
        : html`
          <div class="scroll" key="alone"><div class="feed-in feed-alone">
            ${state.status === "error" && html`<${LoadError} what="The messages" error=${state.error} retry=${room.open} />`}
            ${skeleton && html`<${ChatSkeleton} />`}
            ${isEmpty && !skeleton && html`<${ChatEmpty} space=${space} write=${() => field.current?.focus()} invite=${spaceActions.invite} />`}
          </div></div>`}
      <${Composer} key=${`${editing?.message.id ?? "new"} ${composerKey}`} space=${space} members=${members} fieldRef=${field}
        mention=${{ myId: my.id, mayMentionAll: isOrganiser(space.role) }} editing=${editing} draft=${readDraft(space.id)}
        onText=${(text) => (editing ? setEditing({ ...editing, text }) : keepDraft(space.id, text))} send=${actions.send} save=${actions.save} leaveEditing=${actions.leaveEditing}
        editLast=${actions.editLast} waitsFor=${waitsFor} />
    </div>
    ${removing && html`
      <${ConfirmDialog} title="Remove this message?" verb="Remove" busyVerb="Removing…" act=${() => removeMessage(removing)}
        onClose=${() => setRemoving(null)} onDone=${() => announce("Message removed")}>
        <p>It goes for everybody in ${space.name}. “Message removed” stays in its place.</p>
      <//>`}`;
}

/** The message that is edited: `{message, version, text}`, kept on the device until it is saved or left. */
function useEdit(spaceId) {
  const [edit, setEdit] = useState(() => readEdit(spaceId));
  const put = (next) => {
    keepEdit(spaceId, next && { ...next, isNew: false }); // taken up again it does not take the focus
    setEdit(next);
  };
  return [edit, put];
}

const editOf = ({ id, space_id: spaceId, content, created_at: createdAt, version }, text = content) =>
  ({ message: { id, space_id: spaceId, content, created_at: createdAt }, version, text, isNew: true });

/** One object for the whole life of the chat, so that messages need not be drawn again when it changes. */
function useChatActions({ room, state, space, my, setEditing, setRemoving, setComposerKey, field, editing }) {
  const actions = useRef({}).current;
  const focusSoon = () => setTimeout(() => field.current?.focus());
  const leaveEditing = () => {
    setEditing(null);
    focusSoon();
  };
  const edit = (message, event) => {
    if (message.author.id !== my.id || message.deleted_at || message.state) return false;
    event?.preventDefault();
    setEditing(editOf(message));
    return true;
  };
  return Object.assign(actions, {
    edit,
    leaveEditing,
    editingId: editing?.message.id,
    mayRemoveAll: isOrganiser(space.role),
    lastSentId: state.lastSentId === state.messages.at(-1)?.id ? state.lastSentId : null,
    goToNewest: () => room.goToNewest(),
    remove: setRemoving,
    send(text) {
      enqueue(space.id, text);
      room.goToNewest();
    },
    async save(text) {
      try {
        if (text !== editing.message.content) await editMessage(editing.message, editing.version, text);
      } catch (error) {
        if (error.code !== "STALE_VERSION" || !error.current) return explain(error);
        if (error.current.content !== text) {
          setEditing(editOf(error.current, text)); // seen now: saving again is a decision
          return "You changed this message somewhere else meanwhile; the chat shows how it reads now. Yours is kept here. Save again to replace it.";
        }
        // an earlier try, whose answer was lost, had saved it
      }
      announce("Saved");
      leaveEditing();
      return null;
    },
    editLast: () => {
      const last = state.messages.findLast((message) => message.author.id === my.id && !message.deleted_at);
      return last ? edit(last) : false;
    },
    focusComposer(event) {
      event?.preventDefault();
      field.current?.focus();
    },
    async copy(message) {
      if (await copyText(message.content)) toast("Text copied");
      else toast("The browser does not allow copying here", { icon: "circle-alert" });
    },
    sendAgain: (message) => sendAgain(message.key),
    takeBack(message) {
      const taken = takeBack(message.key);
      if (taken === null) return;
      const draft = readDraft(space.id);
      keepDraft(space.id, draft ? `${draft}\n${taken.content}` : taken.content);
      setComposerKey((count) => count + 1);
      if (taken.isUnsure) toast("The text is in the field again. A first try may have arrived; sent unchanged, it is kept once.", { icon: "circle-alert" });
      else announce("Taken back. The text is in the field again.");
      focusSoon();
    },
  });
}

const wallOf = (space) => (space.wallpaper === "plain" ? "plain" : "growth");

function subtitle(fresh, space) {
  if (fresh.kind === "offline") return `${freshWords(fresh)} · showing what this device has`;
  const count = plural(space.member_count, "member");
  return fresh.kind === "behind" ? `${freshWords(fresh)} · ${count}` : count;
}
