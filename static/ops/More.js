import { html, useEffect, useRef } from "../vendor/preact.js";
import { Button } from "../ui/Button.js";

/** The end of a list that goes on: the next page comes when it is scrolled to, or by its button. */
export function More({ pages }) {
  const end = useRef(null);
  const { more } = pages;
  useEffect(() => {
    if (pages.error) return undefined;
    const observer = new IntersectionObserver(([entry]) => entry.isIntersecting && more(), { rootMargin: "200px" });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [pages.items, pages.error]);
  return html`<p class="more" ref=${end}><${Button} kind="quiet" busy=${pages.isLoading && "Loading…"} onClick=${more}>Show more<//></p>`;
}
