/** Counting in sentences. */

const SMALL = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

export const numberWord = (count) => SMALL[count] ?? String(count);

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** Where the server stops counting what is unread. */
const COUNTED_UP_TO = 100;
export const isCapped = (count) => count >= COUNTED_UP_TO;

/** "1 new message", "100+ new messages". */
export const newMessages = (count, what = "new message") => (isCapped(count) ? `${COUNTED_UP_TO}+ ${what}s` : plural(count, what));

export const pluralWord = (count, one, many = `${one}s`) => `${numberWord(count)} ${count === 1 ? one : many}`;

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** "a", "a and b", "a, b and c". */
export const list = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
