/** The window of messages that is loaded: joining runs, and letting go of what is too much. Plain functions. */

/** Beyond it the far end of the window is let go. */
export const MOST_SHOWN = 400;
const TRIMMED_AFTER = 50; // more than that, so that not every live message moves the other end

/** The query for a window: the newest messages, the first ones (around 0), or those around a message. */
export function placeOf(around) {
  if (around === null) return "";
  return around === 0 ? "&after=0" : `&around=${around}`;
}

/** A loaded page with what arrived meanwhile: newer versions of its messages, and new ones if it reaches the end. */
export function withArrivals(items, arrivals, hasNewer) {
  const versions = new Map(items.map((message) => [message.id, message.version]));
  const last = items.at(-1)?.id ?? 0;
  const fitting = arrivals.filter(({ id, version }) => (versions.has(id) ? version > versions.get(id) : !hasNewer && id > last));
  return merge(items, fitting);
}

/** Put a new message at the end, which is in view: the beginning of a long window is let go. */
export function growAtEnd(messages, message) {
  const grown = merge(messages, [message]);
  return grown.length <= MOST_SHOWN + TRIMMED_AFTER ? { messages: grown } : { messages: grown.slice(-MOST_SHOWN), hasOlder: true };
}

/** Put a new message below whoever reads above: they keep all they have, and a window twice as long takes no more until they get there. */
export function growBelow(messages, message) {
  return messages.length < 2 * MOST_SHOWN ? { messages: merge(messages, [message]) } : { hasNewer: true };
}

/** Join two runs of messages, ascending by id, each message once; the later run wins. */
export function merge(earlier, later) {
  const byId = new Map();
  for (const message of earlier) byId.set(message.id, message);
  for (const message of later) byId.set(message.id, message);
  return [...byId.values()].sort((a, b) => a.id - b.id);
}
