/** What was typed and not sent or saved, per person and space. A draft on the device is not an error. */

import { readStored, writeStored } from "../../lib/storage.js";
import { me } from "../accounts/session.js";

const drafts = new Map(); // in front of the storage, which may be denied or full

const keyOf = (spaceId) => `gs.draft.${me()?.id}.${spaceId}`;

export const readDraft = (spaceId) => drafts.get(keyOf(spaceId)) ?? asText(readStored(keyOf(spaceId), ""));

export function keepDraft(spaceId, text) {
  drafts.set(keyOf(spaceId), text);
  writeStored(keyOf(spaceId), text || undefined);
}

/* A message being edited: `{message, version, text}`, the version being the one whose text was changed. */

const editKeyOf = (spaceId) => `gs.edit.${me()?.id}.${spaceId}`;

export const readEdit = (spaceId) => drafts.get(editKeyOf(spaceId)) ?? asEdit(readStored(editKeyOf(spaceId), null));

/** Keep what an edit has come to; null when it is over. */
export function keepEdit(spaceId, edit) {
  drafts.set(editKeyOf(spaceId), edit);
  writeStored(editKeyOf(spaceId), edit ?? undefined);
}

/* What another version of this page kept may have another shape: it counts for nothing. */

const asText = (value) => (typeof value === "string" ? value : "");

function asEdit(value) {
  const isWhole = Number.isInteger(value?.message?.id) && typeof value.message.content === "string" && Number.isInteger(value.version);
  return isWhole && typeof value.text === "string" ? value : null;
}

/** Forget what was typed in a space that is gone for us. Gives the texts. */
export function takeDrafts(spaceId) {
  const texts = [readDraft(spaceId), readEdit(spaceId)?.text].filter(Boolean);
  keepDraft(spaceId, "");
  keepEdit(spaceId, null);
  return texts;
}
