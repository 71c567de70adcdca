import { useEffect, useRef } from "../vendor/preact.js";
import { hasMoved } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { spaces } from "../features/spaces/spaces.js";

const NAME = "Group Spaces";

const unreadInAll = ({ items }) => items.reduce((sum, space) => sum + space.unread_count, 0);

/** Name the document after the pane and what is unread, and move the focus to its heading when the pane was reached by moving. */
export function usePaneHeading(title, focusKey = title) {
  const heading = useRef(null);
  const unread = useStore(spaces, unreadInAll);
  useEffect(() => {
    document.title = `${unread ? `(${unread}) ` : ""}${title} · ${NAME}`;
  }, [title, unread]);
  useEffect(() => {
    if (hasMoved()) heading.current?.focus({ preventScroll: true });
  }, [focusKey]);
  return heading;
}
