/** What was typed and not sent, per person and space. A draft on the device is not an error. */

import { readStored, writeStored } from "../../lib/storage.js";
import { me } from "../accounts/session.js";

const drafts = new Map(); // in front of the storage, which may be denied or full

const keyOf = (spaceId) => `gs.draft.${me()?.id}.${spaceId}`;

export const readDraft = (spaceId) => drafts.get(keyOf(spaceId)) ?? readStored(keyOf(spaceId), "");

export function keepDraft(spaceId, text) {
  drafts.set(keyOf(spaceId), text);
  writeStored(keyOf(spaceId), text || undefined);
}
