/** What rebuilding a copy takes and how far it is, in words. `room` of `GET /ops/replication` is null where nobody knows. */

import { bytes } from "./figures.js";

/** `{mark, title, text}` of the copy that an instance serves. */
export function copyOf({ generation, room, rebuilding, rebuild_blocked: blocked }) {
  const size = room && bytes(room.size_bytes);
  if (blocked) return { mark: "warn", icon: "database", title: "No room for a new copy", text: `${blocked} Free that much, and it goes on by itself; the present copy serves meanwhile.` };
  if (rebuilding) return { mark: "run", title: "Fetching a new copy", text: `Because ${because(rebuilding)}. The present one${size ? ` (${size})` : ""} serves until the new one is whole and checked.` };
  const free = room ? `; ${bytes(room.free_bytes)} are free on its disk` : "";
  return { mark: "idle", icon: "database", title: `Copy ${generation}${size ? `, ${size}` : ""}`, text: `The one that serves. A rebuild fetches another beside it${free}.` };
}

/** "12 MB of about 40 MB", or what it waits for. */
export function filledWords({ room, last_error: error }) {
  if (room && room.filled_bytes !== null) return `${bytes(room.filled_bytes)} of about ${bytes(room.size_bytes)} are here.`;
  return error ? `Waiting: ${error}.` : "Beginning, or switching to it.";
}

/** What follows from rebuilding, each a sentence; and what stands against it, or null. */
export function consequences(name, room) {
  const all = room
    ? `All data are fetched anew: about ${bytes(room.size_bytes)} over the wire. That needs up to ${bytes(room.needed_bytes)} of disk beside the present copy, and ${bytes(room.free_bytes)} are free.`
    : "All data are fetched anew, into a second copy beside the present one. The disk needs room for both.";
  return [
    all,
    `People at ${name} read and write on; the present copy serves until the new one is whole and checked.`,
    "Nobody is signed out. Pages whose copy turns out to have been wrong load anew what they show: their live streams are reset.",
    "The present copy is kept aside until the new one is proved equal.",
  ];
}

/** Why it would wait at once, or null. */
export function shortage(room) {
  if (!room || room.needed_bytes <= room.free_bytes) return null;
  return `There is no room for it: ${bytes(room.needed_bytes - room.free_bytes)} are missing. It would wait until they are free.`;
}

// The server's reasons are clauses, such as "an operator asked for it" or "its digest differs".
const because = (reason) => (reason === "its digest differs" ? "the present one is not what the primary has" : reason.replace(/[.]$/, ""));
