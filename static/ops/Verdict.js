import { html, useEffect, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { ago } from "../lib/time.js";
import { usePaneHeading } from "../ui/usePaneHeading.js";
import { momentWithDay } from "./figures.js";
import { spoken } from "./fleet.js";

// A mark of so many letters stays on one line of the narrowest phone, and so does a name with hyphens.
const SHORT = 24;
const WITH_HYPHEN = /([^\s,.:]*-[^\s,.:]*)/;

/** The sentence that answers "what needs me?", and how old the answer is. Told to screen readers when the news is another. */
export function Verdict({ title, verdict, at }) {
  const heading = usePaneHeading(title);
  const [told, setTold] = useState(null);
  useEffect(() => {
    if (told !== null && verdict.key !== null && told !== verdict.key) announce(spoken(verdict));
    setTold(verdict.key);
  }, [verdict.key]);
  return html`
    <div class="verdict">
      <h1 tabindex="-1" ref=${heading}>${verdict.parts.map((part) => (part.mark ? html`<mark data-kind=${part.kind} data-short=${part.mark.length <= SHORT ? "" : undefined}>${unbroken(part.mark)}</mark>` : unbroken(part)))}</h1>
      ${at && html`<${Stamp} at=${at} />`}
    </div>`;
}

/** A text whose names do not end a line at their hyphens. */
function unbroken(text) {
  return text.split(WITH_HYPHEN).map((piece) => (piece.includes("-") && piece.length <= SHORT ? html`<span class="unbroken">${piece}</span>` : piece));
}

function Stamp({ at }) {
  const [nowMs, setNowMs] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return html`<p class="xs ink-3 num stamp">${momentWithDay(Math.max(nowMs, at))}<br />refreshed ${ago(Math.max(0, nowMs - at))}</p>`;
}
