import { html } from "../../vendor/preact.js";
import { LoadError } from "../../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../../ui/Skeleton.js";

/**
 * One section of the settings. With `loaded` (of `useLoaded`) its content waits for the data: a skeleton of `rows`, or why
 * `what` did not come. `aside` stands beside the heading; `actions` at its end, and below everything on phones.
 */
export function Section({ id, title, aside, actions, loaded = null, what, rows = 1, children }) {
  const isWaiting = loaded !== null && loaded.data === null;
  const skeleton = useSkeleton(isWaiting && !loaded.error);
  return html`
    <section class="sect sect-acts" aria-labelledby=${`set-${id}`}>
      <div class="sect-head"><h2 id=${`set-${id}`} tabindex="-1">${title}</h2>${aside}</div>
      ${!isWaiting && actions && html`<div class="row row-wrap sect-act">${actions}</div>`}
      <div class="sect-body">
        ${isWaiting && loaded.error && html`<${LoadError} what=${what} error=${loaded.error} retry=${loaded.reload} />`}
        ${skeleton ? html`<${RowsSkeleton} label=${`Loading ${what.toLowerCase()}`} rows=${rows} />` : !isWaiting && children}
      </div>
    </section>`;
}
