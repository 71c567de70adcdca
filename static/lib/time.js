/** How times are written: "19:41" today, "Thu 19 Nov" this year, "12 s ago" only for freshness. */

const LOCALE = "en-GB";
const clockFormat = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long" });
const dayYearFormat = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const shortFormat = new Intl.DateTimeFormat(LOCALE, { weekday: "short", day: "numeric", month: "short" });
const shortYearFormat = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric" });
const fullFormat = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "short" });

/** A number that is the same for all moments of one local day. */
export function dayOf(time) {
  const date = new Date(time);
  return date.getFullYear() * 10_000 + date.getMonth() * 100 + date.getDate();
}

const isThisYear = (date) => date.getFullYear() === new Date().getFullYear();

export const clock = (time) => clockFormat.format(new Date(time));
export const fullTime = (time) => fullFormat.format(new Date(time));

/** "19:41" today, else "Thu 19 Nov", else with the year. */
export function shortTime(time) {
  const date = new Date(time);
  if (dayOf(date) === dayOf(Date.now())) return clock(date);
  return plain((isThisYear(date) ? shortFormat : shortYearFormat).format(date));
}

export const longDay = (time) => plain((isThisYear(new Date(time)) ? dayFormat : dayYearFormat).format(new Date(time)));

/** "Today, Thursday 19 November" for the pills between days. */
export function dayLabel(time) {
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (dayOf(time) === dayOf(Date.now())) return `Today, ${longDay(time)}`;
  if (dayOf(time) === dayOf(yesterday)) return `Yesterday, ${longDay(time)}`;
  return longDay(time);
}

/** "12 s ago", "3 min ago", "2 h ago". */
export function ago(elapsedMs) {
  const seconds = Math.max(0, Math.round(elapsedMs / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}

const plain = (text) => text.replaceAll(",", "");
