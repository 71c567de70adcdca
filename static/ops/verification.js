/** What a verification of `GET /ops/replication` says, in words. */

import { shortTime } from "../lib/time.js";
import { list, plural } from "../lib/words.js";
import { bytes, count, duration } from "./figures.js";

/** True while tables are being compared. */
export const isComparing = ({ state }) => state === "running";

/** The newest difference, while it is not known to be mended; else null. */
export const openFinding = ({ found }) => (found && !found.resolved_at ? found : null);

/** `{mark, title, text}` of one that does not run, beside the copy that serves (its number); `mark` is "ok", "bad", "warn" or "idle". */
export function verdictOn(verification, name, serving) {
  const { state, at, differences, error, whole, generation } = verification;
  if (state === "equal" && generation !== serving) return { mark: "idle", title: "This copy was not compared yet", text: `The one before it, copy ${generation}, was equal to the primary at ${shortTime(at)}. Copy ${serving} has come since.` };
  if (state === "equal" && !whole) return { mark: "idle", title: `Equal in ${list(verification.tables)}`, text: `${scope(verification)} compared at ${shortTime(at)}. The other tables were not asked for.${moved(verification)}${mended(verification)}` };
  if (state === "equal") return { mark: "ok", title: "Equal to the primary, row by row", text: `${scope(verification)} compared at ${shortTime(at)}, in ${duration(verification.duration_ms)}.${moved(verification)}${mended(verification)}` };
  if (state === "different") return { mark: "bad", title: "Not what the primary has", text: `Found at ${shortTime(at)} in ${where(differences)}. A new copy is fetched by itself and compared again; until it is there, people may read what is wrong.` };
  if (state === "failed") return { mark: "warn", title: "The comparison was not finished", text: `Begun at ${shortTime(at)}: ${sentence(error ?? "it ended early")} What was compared until then says nothing about the rest.` };
  return { mark: "idle", title: "Not compared yet", text: `${name} was not compared with the primary since it started. A job does so by itself, unless the settings leave it out.` };
}

/** How far it is: of ranges, whose number is an estimate until the end. */
export function progressWords({ ranges_done: done, ranges_total: total, bytes: size }) {
  if (!total) return "Looking what there is to compare.";
  return `${count(done)} of about ${count(Math.max(done, total))} ranges of keys, ${bytes(size)} read.`;
}

/** The difference in one line: "message (row 12) and space (all rows)". */
export const where = (differences) => list(differences.map((one) => `${one.table} (${rangeWords(one)})`)) || "a table";

/** A key range of a difference: its ends are SQL literals, null where the table ends. */
export function rangeWords({ from, to, reason }) {
  const unread = reason ? `, not readable: ${reason}` : "";
  if (from === null && to === null) return `all rows${unread}`;
  if (from === null) return `rows up to ${to}${unread}`;
  if (to === null) return `rows after ${from}${unread}`;
  if (/^\d+$/.test(from) && Number(to) - Number(from) === 1) return `row ${to}${unread}`;
  return `rows after ${from}, up to ${to}${unread}`;
}

function scope({ tables, rows, bytes: size }) {
  return `${plural(tables.length, "table")}, ${count(rows)} ${rows === 1 ? "row" : "rows"}, ${bytes(size)}`;
}

function moved({ unsettled }) {
  return unsettled ? ` ${plural(unsettled, "row")} changed at every look and could not be compared.` : "";
}

function mended({ found }) {
  return found?.resolved_at ? ` Mended: ${where(found.differences)}, found ${shortTime(found.at)}.` : "";
}

const sentence = (text) => `${text.charAt(0).toLowerCase()}${text.slice(1).replace(/[.]+$/, "")}.`;
