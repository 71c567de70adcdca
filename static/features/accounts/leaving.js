/** Taking one's data and leaving for good. */

import { api } from "../../lib/api.js";
import { navigate } from "../../lib/router.js";
import { storedKeys, writeStored } from "../../lib/storage.js";
import { confirmByPassword, noteSignedOut } from "./session.js";

// What this device keeps for whoever uses it, and not for the person.
const OF_THE_DEVICE = ["gs.theme", "gs.letters"];

/** Resolves to the zip file; `onBytes(count)` hears how much of it is here. */
export const fetchExport = (onBytes) => api.download("/users/me/export", { onBytes });

/** "group-spaces-ann-2026-11-22.zip". */
export const exportName = ({ username }) => `group-spaces-${username}-${new Date().toISOString().slice(0, 10)}.zip`;

/** "840 kB", "1.4 MB". */
export function sizeWords(bytes) {
  if (bytes < 999_500) return `${Math.max(1, Math.round(bytes / 1000))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * Delete the account and leave the house. `handOver` is `[{space_id, user_id}]`. Raises ApiError: OWNS_SPACES lists under
 * `current.spaces` what needs another owner first.
 */
export async function deleteAccount({ password, handOver }) {
  if (password && !(await isConfirmed())) await confirmByPassword(password); // else it would be asked for twice
  try {
    await api.delete("/users/me", { body: { ...(password && { password }), hand_over: handOver } });
  } catch (error) {
    // An answer that got lost says nothing; being nobody any more does.
    if (error.code !== "OFFLINE" || !(await isGone())) throw error;
  }
  navigate("/goodbye", { replace: true });
  noteSignedOut();
  for (const key of storedKeys("gs.")) if (!OF_THE_DEVICE.includes(key)) writeStored(key, undefined);
}

const MARGIN_MS = 60_000; // clocks differ

async function isGone() {
  try {
    await api.get("/auth/session", { quiet401: true });
    return false;
  } catch (error) {
    return error.status === 401;
  }
}

async function isConfirmed() {
  const { session } = await api.get("/auth/session");
  return Date.parse(session.confirmed_until) - Date.now() > MARGIN_MS;
}
