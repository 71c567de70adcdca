/** What a person does with a message that exists. */

import { api } from "../../lib/api.js";
import { openedRoom } from "./room.js";

/** Change a text. Refused (STALE_VERSION, with the message as it is now) when `version` is not the newest. */
export async function editMessage(message, version, content) {
  try {
    const edited = await api.patch(`/messages/${message.id}`, { content }, { version });
    openedRoom(message.space_id)?.replace(edited);
  } catch (error) {
    if (error.code === "STALE_VERSION" && error.current) openedRoom(message.space_id)?.replace(error.current);
    throw error;
  }
}

export async function removeMessage(message) {
  await api.delete(`/messages/${message.id}`);
  openedRoom(message.space_id)?.replace({ ...message, content: "", html: "", deleted_at: new Date().toISOString(), version: message.version + 1 });
}
