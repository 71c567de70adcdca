import { html, useEffect, useState } from "../vendor/preact.js";
import { Button } from "./Button.js";
import { Empty } from "./Empty.js";

/** A part whose code is fetched when it is first shown: `load()` resolves to its component, which gets all other properties. */
export function Lazy({ load, ...rest }) {
  const [state, setState] = useState({ part: null, failed: false });
  useEffect(() => {
    let current = true;
    load().then(
      (part) => current && setState({ part, failed: false }),
      () => current && setState({ part: null, failed: true }),
    );
    return () => {
      current = false;
    };
  }, [load]);
  if (state.failed) return html`<${NotLoaded} />`;
  return state.part && html`<${state.part} ...${rest} />`;
}

/** Browsers remember a module that failed; only a new document asks for it again. */
function NotLoaded() {
  return html`
    <main class="wrap" id="main">
      <${Empty} heading="h1" title="This page could not be loaded"
        actions=${html`<${Button} kind="primary" onClick=${() => location.reload()}>Load it again<//>`}>
        Its parts did not arrive. Nothing is lost.
      <//>
    </main>`;
}
