/** The old copies that an instance keeps, in words: what each is, and what is lost with it. */

import { shortTime } from "../lib/time.js";
import { count } from "./figures.js";

/** All that are kept, first the one that may have the most to give back; an older instance tells of one only. */
export const keptOf = ({ kept, quarantined }) => kept ?? (quarantined ? [quarantined] : []);

/** `{mark, icon, title, text}` of one, beside the copy that serves at position `now`. */
export function keptWords(old, now) {
  const replaced = `Replaced at ${shortTime(old.at)}${old.reason ? `: ${old.reason.replace(/[.]$/, "")}` : ""}.`;
  if (!old.rescues) return { mark: "idle", icon: "archive", title: `Old copy ${old.generation} is kept`, text: `${replaced} It goes by itself once the one that serves is proved equal to the primary.` };
  return { mark: "warn", icon: "archive", title: `Old copy ${old.generation} may hold what the primary lost`, text: `${replaced} ${onlyThere(old, now)} Only an operator removes it.` };
}

/** What only such a copy has, by feed position; where the histories parted is not known when the primary has gone on since. */
function onlyThere({ seq }, now) {
  if (!seq) return "How far it goes is not known.";
  if (seq > now) return `It goes up to position ${count(seq)}, the one that serves to ${count(now)}: at least ${changes(seq - now)} are only there.`;
  return `It goes up to position ${count(seq)}. What the primary had lost of that is only there.`;
}

/** What is lost by giving one up, each a sentence. */
export function lossOf(old, now) {
  if (!old.rescues) return [`Copy ${old.generation} was replaced because ${old.reason || "another was asked for"}. Nothing is known that only it has.`, "If the copy that serves turns out to be wrong, it is fetched anew from the primary."];
  return [
    `Copy ${old.generation} is what this instance held before the primary's history changed. ${onlyThere(old, now)}`,
    "With it, those messages, accounts and settings are lost for good, unless another instance keeps such a copy as well: look at each of them first.",
    `To look at it first, read the file replica/${old.generation}/replica.db in the instance's data folder. If it is the better one, promote it instead.`,
  ];
}

const changes = (number) => `${count(number)} ${number === 1 ? "change" : "changes"}`;
