import { html, useEffect, useState } from "../vendor/preact.js";

const BEFORE_MS = 300;
const AT_LEAST_MS = 400;

/** True while a skeleton is due: not in the first 300 ms, and then for at least 400 ms. */
export function useSkeleton(isLoading) {
  const [shownAt, setShownAt] = useState(null);
  useEffect(() => {
    if (isLoading && shownAt === null) {
      const timer = setTimeout(() => setShownAt(Date.now()), BEFORE_MS);
      return () => clearTimeout(timer);
    }
    if (!isLoading && shownAt !== null) {
      const timer = setTimeout(() => setShownAt(null), Math.max(0, shownAt + AT_LEAST_MS - Date.now()));
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [isLoading, shownAt]);
  return shownAt !== null;
}

/** Messages to come. */
export function ChatSkeleton() {
  return html`
    <div class="sk-chat sk-slips" role="status" aria-busy="true" aria-label="Loading messages">
      ${[["20", "90", "60"], ["30", "75"], ["20", "45"], ["30", "90", "75"]].map((widths) => html`
        <span class="sk sk-round"></span><div class="stack">${widths.map((w) => html`<span class=${`sk sk-${w}`}></span>`)}</div>`)}
    </div>`;
}

/** Rows to come: a circle or leaf and two lines. */
export function RowsSkeleton({ label, rows = 4 }) {
  return html`
    <div class="sk-chat" role="status" aria-busy="true" aria-label=${label}>
      ${Array.from({ length: rows }, (_, index) => html`
        <span class="sk sk-round"></span>
        <div class="stack"><span class=${`sk sk-${index % 2 ? "30" : "45"}`}></span><span class=${`sk sk-${index % 2 ? "75" : "60"}`}></span></div>`)}
    </div>`;
}
