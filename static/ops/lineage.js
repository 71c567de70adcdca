/** What the primary is to an instance, in words; and why nothing can be done with it, if so. */

import { shortTime } from "../lib/time.js";
import { count } from "./figures.js";

const REFUSED = {
  wiped: { title: "The primary is empty", fact: "empty", why: "The primary is empty, and nothing is fetched from it or saved to it." },
  foreign: { title: "The primary is another deployment's", fact: "of another deployment", why: "The primary belongs to another deployment; nothing is fetched from it or saved to it." },
  moving: { title: "The primary takes part in a move", fact: "being moved", why: "A move of all data has not finished; nothing is fetched or saved until then." },
  split: { title: "The primary is the other one of two", fact: "another one of two", why: "Two primaries were promoted, and this is the other one; nothing is fetched from it or saved to it." },
  superseded: { title: "The primary was replaced, and has come back", fact: "replaced", why: "The primary is one that was replaced; nothing is fetched from it or saved to it." },
};

/** What a condition such as "primary_wiped" says of the primary: `{title, fact, why}`; undefined for others. */
export const refusalBy = (condition) => (condition?.startsWith("primary_") ? REFUSED[condition.slice("primary_".length)] : undefined);

/** The same of a status, null while the primary is not refused. */
export const refusalOf = (status) => REFUSED[status.lineage.state] ?? null;

/** `{mark, title, text}` of the history that an instance has, beside its primary's. */
export function historyOf({ lineage, as_of: asOf, feed_seq: seq }) {
  const { state, since } = lineage;
  const from = since ? ` since ${shortTime(since)}` : "";
  if (state === "ours") return { mark: "ok", title: "One history with the primary", text: `This instance and its primary share one history, known${from} and looked at before each fetch. ${lineageFacts(lineage)}` };
  const refused = REFUSED[state];
  if (!refused) return { mark: "idle", title: "Whether it is the primary is not known", text: `It was not asked${from}: the connection is lost. It is asked before anything is fetched. ${lineageFacts(lineage)}` };
  const kept = asOf ? `equal to the right primary as of ${shortTime(asOf)}` : "as it was when this instance started";
  return { mark: "bad", title: refused.title, text: `Refused${from}. Kept and served here: everything up to position ${count(seq)}, ${kept}. The alert says what to do. ${lineageFacts(lineage)}` };
}

function lineageFacts({ origin, epoch }) {
  const facts = [epoch !== null && `epoch ${epoch}`, origin && `family ${origin.slice(0, 8)}`].filter(Boolean).join(", ");
  return facts && `${facts.charAt(0).toUpperCase()}${facts.slice(1)}.`;
}
