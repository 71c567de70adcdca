/** Brings each live event to the state that owns it, for as long as somebody is signed in. */

import { announce, announceMessage } from "./lib/announce.js";
import { onHeard } from "./lib/api.js";
import { copyText } from "./lib/clipboard.js";
import { canWrite, freshness, noteExempt, noteFreshness, noteLine } from "./lib/freshness.js";
import { abandon, claim, flush, startOutbox, stopOutbox } from "./lib/outbox.js";
import { notePosition, restartPosition } from "./lib/position.js";
import { currentPath, matchPath, navigate } from "./lib/router.js";
import { keepStream } from "./lib/stream.js";
import { loadSession, me, noteMe, session } from "./features/accounts/session.js";
import { takeDrafts } from "./features/chat/drafts.js";
import { forgetRoom, forgetRooms, openedRoom, reloadRooms, resendReads } from "./features/chat/room.js";
import { dropMember, forgetMembers, putMember, reloadMembers } from "./features/spaces/members.js";
import {
  countMessage, dropSpace, forgetSpaces, leaving, loadSpaces, patchSpace, recount, spaceById, spaces,
} from "./features/spaces/spaces.js";
import { toast } from "./ui/toasts.js";

const RETRY_START_MS = 3000;

let stream = null;

/** Load the spaces, follow the stream, send what waits. Returns a function that ends all of it and forgets the person. */
export function startLive(user) {
  let stopped = false;
  let timer = 0;
  noteExempt(user.is_operator);
  startOutbox(user.id, onSent);
  const unwatch = watchWriting(sendWhatWaits);

  async function begin() {
    await loadSpaces();
    if (stopped) return;
    if (spaces.get().status === "error") {
      if (spaces.get().error.status === 0) noteLine(false);
      timer = setTimeout(begin, spaces.get().error.retryAfterMs ?? RETRY_START_MS);
      return;
    }
    stream = keepStream({ afterSeq: spaces.get().seq || null, onEvent, onState, onRefused: loadSession });
  }
  begin();

  return () => {
    stopped = true;
    unwatch();
    clearTimeout(timer);
    stream?.close();
    stream = null;
    stopOutbox();
    forgetRooms();
    forgetMembers();
    forgetSpaces();
    noteLine(true);
  };
}

/** Somebody pressed "Try now". */
export function tryNow() {
  stream?.retryNow();
  flush();
}

// What others asked for came: the line is back before the stream would have tried again.
onHeard(() => {
  if (freshness.get().lostSince !== null) stream?.heard();
});

function onState(state) {
  const wasOpen = freshness.get().lostSince === null;
  noteLine(state === "open");
  if (state === "lost" && wasOpen) announce("You are offline. What you write waits here.");
}

/** Call `onReturn` whenever writing becomes possible again: the line is back, or the primary. */
function watchWriting(onReturn) {
  let could = canWrite(freshness.get());
  return freshness.subscribe((state) => {
    const can = canWrite(state);
    if (can && !could) onReturn();
    could = can;
  });
}

function sendWhatWaits() {
  flush();
  resendReads();
}

function onSent(message) {
  openedRoom(message.space_id)?.addSent(message);
  countMessage(message, 0);
  announce("Sent");
}

function onEvent({ id, type, data }) {
  notePosition(id);
  const handle = HANDLERS[type];
  if (handle && session.get().status === "in") handle(data, id ?? 0);
}

const HANDLERS = {
  "message.created"(message, seq) {
    const room = openedRoom(message.space_id);
    if (message.author.id === me().id) claim(message);
    else if (room?.isReadNow()) announceMessage(`${message.author.name}: ${message.content}`);
    countMessage(message, seq);
    room?.add(message);
  },
  "message.updated"(message) {
    openedRoom(message.space_id)?.replace(message);
    refreshLast(message, message.content);
  },
  "message.deleted"(message) {
    openedRoom(message.space_id)?.replace({ ...message, deleted_at: message.deleted_at ?? new Date().toISOString() });
    refreshLast(message, "Message removed");
    const space = spaceById(message.space_id);
    if (space?.unread_count && message.id > (space.last_read_message_id ?? 0)) recount(space.id);
  },
  "member.joined"(member, seq) {
    if (member.user.id === me().id) return recount(member.space_id);
    const space = spaceById(member.space_id);
    if (space && seq > space.countedSeq) patchSpace(space.id, { member_count: space.member_count + 1 });
    return putMember(member.space_id, member);
  },
  "member.changed"(member) {
    if (member.user.id === me().id) patchSpace(member.space_id, { role: member.role });
    putMember(member.space_id, member);
  },
  "member.left"({ space_id: spaceId, user_id: userId }, seq) {
    if (userId === me().id) return loseSpace(spaceId, (name) => `You are no longer in ${name}`);
    const space = spaceById(spaceId);
    if (space && seq > space.countedSeq) patchSpace(spaceId, { member_count: space.member_count - 1 });
    return dropMember(spaceId, userId);
  },
  "space.created"(space) {
    if (!spaceById(space.id)) recount(space.id);
  },
  "space.updated"(space) {
    patchSpace(space.id, space);
  },
  "space.deleted"({ id }) {
    loseSpace(id, (name) => `${name} is deleted`);
  },
  "read.updated"({ space_id: spaceId, last_read_message_id: lastRead }) {
    const space = spaceById(spaceId);
    if (!space || lastRead <= (space.last_read_message_id ?? 0)) return;
    patchSpace(spaceId, { last_read_message_id: lastRead });
    recount(spaceId);
  },
  "user.updated"(user) {
    if (user.id === me().id && user.version >= me().version) noteMe(user);
    reloadMembers();
  },
  freshness: noteFreshness,
  async reset(_nothing, seq) {
    restartPosition(seq);
    try {
      await loadSpaces();
    } catch {
      // the list stays as it was; the next reset or reload brings it up to date
    }
    reloadRooms();
    reloadMembers();
  },
};

function refreshLast(message, excerpt) {
  const last = spaceById(message.space_id)?.last_message;
  if (last?.id === message.id) patchSpace(message.space_id, { last_message: { ...last, excerpt: excerpt.slice(0, 120) } });
}

/** A space is gone for us, by somebody else's hand. */
function loseSpace(id, words) {
  const space = spaceById(id);
  if (!space || leaving.delete(id)) return;
  if (["/spaces/:id", "/spaces/:id/people", "/spaces/:id/settings"].some((page) => matchPath(page, currentPath())?.id === id)) navigate("/", { replace: true });
  dropSpace(id);
  forgetRoom(id);
  offerTexts(words(space.name), [...abandon(id), ...takeDrafts(id)]);
}

/** Say what happened; what was written and has no place any more stays at hand until it is copied or let go. */
function offerTexts(words, texts) {
  const copy = async () => {
    if (await copyText(texts.join("\n\n"))) toast("Text copied");
    else offerTexts("The browser does not allow copying here.", texts);
  };
  if (texts.length === 0) toast(words, { icon: "circle-alert" });
  else toast(words, { icon: "circle-alert", action: { label: "Copy what you wrote", run: copy }, stays: true });
}
