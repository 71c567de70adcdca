import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { explain, isPrimaryAway } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { FieldError } from "../ui/Field.js";
import { ops } from "./instances.js";
import { Progress } from "./Progress.js";
import { Standing } from "./Standing.js";
import { isComparing, openFinding, progressWords, verdictOn, where } from "./verification.js";

const AWAY = "The primary does not answer, so there is nothing to compare with just now.";
const SAID_EVERY_MS = 15_000;

/**
 * Whether the copy of an instance is what the primary has, row by row: what the newest comparison found, how far the one
 * that runs is, and another one now. `serving` is the number of the copy that serves. `notNow`: why none can begin, or false.
 */
export function Proof({ instance, name, verification, serving, notNow, onBegun }) {
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState(null);
  useAnnounced(verification, name, serving);
  const running = isComparing(verification);
  const found = openFinding(verification);
  const { mark, title, text } = running
    ? { mark: "run", title: found ? "Comparing the new copy…" : "Comparing with the primary…", text: found && `What differed: ${where(found.differences)}.` }
    : verdictOn(verification, name, serving);

  const verify = async () => {
    setAsking(true);
    setProblem(null);
    try {
      await ops.post("/replication/verify", instance, {});
    } catch (error) {
      const words = isPrimaryAway(error) ? AWAY : explain(error);
      setProblem(words);
      announce(words, { urgent: true });
    }
    await onBegun();
    setAsking(false);
  };
  return html`
    <${Standing} mark=${mark} title=${title} text=${text}>
      ${running && html`<${Progress} label=${`Comparing ${name} with the primary`} done=${verification.ranges_done} most=${verification.ranges_total}>${progressWords(verification)}<//>`}
      ${problem && !running && html`<${FieldError} text=${problem} />`}
      <p><${Button} small icon="shield-check" busy=${running ? "Comparing…" : asking && "Beginning…"} disabledBecause=${notNow} onClick=${verify}>${verification.state === "failed" ? "Try again" : "Verify now"}<//></p>
    <//>`;
}

/** Say that one began, now and then how far it is, and what came of it; nothing of what was there when the page was opened. */
function useAnnounced(verification, name, serving) {
  const told = useRef(null);
  const { state, at } = verification;
  const now = `${state} ${at}`;
  useEffect(() => {
    const before = told.current;
    told.current = { now, saidAt: Date.now() };
    if (before === null) return;
    if (isComparing(verification)) announce(`Comparing ${name} with the primary.`);
    else announce(spoken(verification, name, serving), { urgent: state !== "equal" });
  }, [now]);
  useEffect(() => {
    if (!isComparing(verification) || Date.now() - told.current.saidAt < SAID_EVERY_MS) return;
    told.current.saidAt = Date.now();
    announce(`Comparing: ${progressWords(verification)}`);
  }, [verification]);
}

function spoken(verification, name, serving) {
  const { title, text } = verdictOn(verification, name, serving);
  return `${title}. ${text}`;
}
