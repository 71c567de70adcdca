/** Mentioning while writing: what is being typed, who matches, and the text with the choice put in. */

const MOST_SHOWN = 8;
const BEFORE_CARET = /(^|[\s([{"'])@([\p{L}\p{N}_.-]{0,40})$/u;

/** The mention under the caret: `{from, query}`, or null. */
export function mentionAt(text, caret) {
  const match = BEFORE_CARET.exec(text.slice(0, caret));
  return match ? { from: caret - match[2].length - 1, query: match[2].toLocaleLowerCase() } : null;
}

/** Members whose user name or any part of whose name begins with the query; "all" for organisers. */
export function matching(members, query, { myId, mayMentionAll }) {
  const everyone = { id: 0, name: "Everybody here", username: "all" };
  const people = members.map((member) => member.user).filter((user) => user.id !== myId);
  const options = mayMentionAll ? [...people, everyone] : people;
  return options.filter((user) => begins(user, query)).slice(0, MOST_SHOWN);
}

/** Put a choice in place of what was typed: `{text, caret}`. */
export function withMention(text, { from, query }, username) {
  const after = text.slice(from + 1 + query.length);
  const inserted = `@${username}${after.startsWith(" ") ? "" : " "}`;
  const caret = from + inserted.length + (after.startsWith(" ") ? 1 : 0);
  return { text: text.slice(0, from) + inserted + after, caret };
}

function begins(user, query) {
  const words = [user.username, ...user.name.split(/\s+/)].map((word) => word.toLocaleLowerCase());
  return words.some((word) => word.startsWith(query));
}
