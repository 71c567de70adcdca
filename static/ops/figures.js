/** How the console writes figures: times, durations, counts and bytes, each with its unit. */

const LOCALE = "en-GB";
const countFormat = new Intl.NumberFormat(LOCALE);
const nowFormat = new Intl.DateTimeFormat(LOCALE, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const secondsFormat = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const NONE = "–";

/** "Sun 22 Nov, 03:12:40". */
export const momentWithDay = (time) => nowFormat.format(new Date(time)).replace(/^(\w+), /, "$1 ");

/** "03:12:40". */
export const momentOfDay = (time) => secondsFormat.format(new Date(time));

/** How far behind: "40 ms", "0.4 s", "41 s", "3 min", "2 h". */
export function lag(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 95) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  const minutes = seconds / 60;
  return minutes < 119.5 ? `${Math.round(minutes)} min` : `${Math.round(minutes / 60)} h`;
}

/** How long something took: "42 ms", "1.2 s", "3 min". */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  return ms < 999.5 ? `${Math.round(ms)} ms` : lag(ms);
}

/** An interval: "0.5 s", "5 s", "2 min", "1 h". */
export function interval(seconds) {
  if (seconds < 120) return `${trimmed(seconds, 2)} s`;
  return seconds < 7200 ? `${trimmed(seconds / 60, 1)} min` : `${trimmed(seconds / 3600, 1)} h`;
}

/** An interval for a screen reader: "5 seconds". */
export function intervalWords(seconds) {
  const [figure, unit] = interval(seconds).split(" ");
  const name = { s: "second", min: "minute", h: "hour" }[unit];
  return `${figure} ${name}${figure === "1" ? "" : "s"}`;
}

/** "1,204,882". */
export const count = (number) => (number === null || number === undefined ? NONE : countFormat.format(number));

/** A rounded number: "8,640", "121 k", "1.2 M". */
export function about(number) {
  if (number === null || number === undefined) return NONE;
  if (number < 9_999.5) return countFormat.format(Math.round(number));
  return number < 999_500 ? `${Math.round(number / 1000)} k` : `${(number / 1e6).toFixed(1)} M`;
}

/** "4.2 MB". */
export function bytes(number) {
  if (number === null || number === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = number < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(number) / 3));
  const figure = number / 1000 ** power;
  return `${figure < 9.95 && power > 0 ? figure.toFixed(1) : Math.round(figure)} ${units[power]}`;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

const trimmed = (number, digits) => String(Number(number.toFixed(digits)));
