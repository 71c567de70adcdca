/** The fleet's instances as addresses: of calls about one of them, and of this page. */

/** The path of a call about an instance; null is the one that answers. */
export function atInstance(path, instance) {
  if (!instance) return path;
  return `${path}${path.includes("?") ? "&" : "?"}instance=${encodeURIComponent(instance)}`;
}

/** The path of the page about an instance. */
export const pageOf = (instance, page = "/ops/replication") => atInstance(page, instance);
