import { html, useEffect, useState } from "../vendor/preact.js";
import { Button } from "./Button.js";
import { Empty } from "./Empty.js";

const loaded = new Map(); // parts that are here, by their `load`: shown again without an empty frame

/**
 * A part whose code is fetched when it is first shown: `load()` resolves to its component, which gets all other
 * properties. `meanwhile` is drawn until it is here. `inside`: it is a part of a page, and not the whole of one.
 */
export function Lazy({ load, meanwhile = null, inside = false, ...rest }) {
  const [state, setState] = useState({ part: loaded.get(load) ?? null, failed: false });
  useEffect(() => {
    if (state.part) return undefined;
    let current = true;
    load().then(
      (part) => {
        loaded.set(load, part);
        if (current) setState({ part, failed: false });
      },
      () => current && setState({ part: null, failed: true }),
    );
    return () => {
      current = false;
    };
  }, [load]);
  if (state.failed) return html`<${NotLoaded} inside=${inside} />`;
  return state.part ? html`<${state.part} ...${rest} />` : meanwhile;
}

/** Browsers remember a module that failed; only a new document asks for it again. */
function NotLoaded({ inside }) {
  const words = html`
    <${Empty} heading=${inside ? "h2" : "h1"} title="This page could not be loaded"
      actions=${html`<${Button} kind="primary" onClick=${() => location.reload()}>Load it again<//>`}>
      Its parts did not arrive. Nothing is lost.
    <//>`;
  return inside ? html`<div class="sect">${words}</div>` : html`<main class="wrap" id="main">${words}</main>`;
}
