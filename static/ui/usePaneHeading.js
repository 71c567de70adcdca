import { useEffect, useRef } from "../vendor/preact.js";
import { hasMoved } from "../lib/router.js";

const NAME = "Group Spaces";

/** Name the document after the pane, and move the focus to its heading when the pane was reached by moving. */
export function usePaneHeading(title, focusKey = title) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = title ? `${title} · ${NAME}` : NAME;
  }, [title]);
  useEffect(() => {
    if (hasMoved()) heading.current?.focus({ preventScroll: true });
  }, [focusKey]);
  return heading;
}
