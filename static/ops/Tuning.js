import { html, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { writtenSeqOf } from "../lib/api.js";
import { explain } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { FieldError } from "../ui/Field.js";
import { toast } from "../ui/toasts.js";
import { interval, intervalWords, percent } from "./figures.js";
import { ops } from "./instances.js";
import { Forecast } from "./Forecast.js";
import { Range } from "./Range.js";
import { bodyOf, chosenOf, intervalStops, isTunedAnywhere, JITTER_STOPS, moved, resetDraft } from "./draft.js";

const ORIGINS = { settings: "as in its settings", everywhere: "set for all instances", instance: "set for this instance" };

/**
 * Change how an instance, or all of them, keep up: with a preview first, without a restart. `notNow`: why nothing can
 * be tuned, or false. The instance that is looked at may be cut off alone: the others can be tuned then.
 */
export function Tuning({ instance, name, status, fleetSize, notNow, onTuned }) {
  const [draft, setDraft] = useState({});
  const [busy, setBusy] = useState(null);
  const [problem, setProblem] = useState(null);
  const [answer, setAnswer] = useState(null); // to a change, until its replica holds as much
  const tuning = answer && status.feed_seq < writtenSeqOf(answer) ? answer : status.tuning;
  const isCutOff = !notNow && status.primary === "unreachable";

  const chosen = chosenOf(tuning, draft);
  const put = (key) => (value) => {
    setProblem(null);
    setDraft(moved(tuning, draft, key, value));
  };
  const apply = async (everywhere) => {
    setBusy(everywhere ? "all" : "one");
    setProblem(null);
    try {
      const changed = await ops.patch("/replication", isCutOff ? null : instance, { ...bodyOf(tuning, draft, everywhere), everywhere });
      if (!isCutOff) setAnswer(changed);
      setDraft({});
      toast(isCutOff ? `All instances are tuned; ${name} follows when it reaches the primary` : everywhere ? "All instances are tuned" : `${name} is tuned`);
      onTuned();
    } catch (error) {
      setProblem(explain(error));
      announce(explain(error), { urgent: true });
    }
    setBusy(null);
  };
  const unchanged = Object.keys(bodyOf(tuning, draft, false)).length === 0;
  const unchangedEverywhere = Object.keys(bodyOf(tuning, draft, true)).length === 0;
  const notHere = notNow || (isCutOff && `${name} does not reach the primary, where its tuning is kept.`);
  const isDrafted = Object.keys(draft).length > 0;
  const isReset = !isDrafted && !isTunedAnywhere(tuning, status.tunings);

  return html`
    <section class="panel" aria-labelledby="ops-tune">
      <div class="panel-head"><h2 id="ops-tune">Tuning</h2><span class="end">${name}</span></div>
      <div class="tune">
        <${Range} label="Sync interval" hint="While people are connected" value=${chosen.interval_s} stops=${intervalStops(tuning.interval_s)} words=${interval} spoken=${intervalWords}
          note=${ORIGINS[tuning.interval_s.from]} onInput=${put("interval_s")} />
        <${Range} label="Idle interval" hint="While nobody is" value=${chosen.idle_interval_s} stops=${intervalStops(tuning.idle_interval_s)} words=${interval} spoken=${intervalWords}
          note=${ORIGINS[tuning.idle_interval_s.from]} onInput=${put("idle_interval_s")} />
        <${Range} label="Jitter" hint="How far a sync strays from its interval" value=${chosen.jitter} stops=${JITTER_STOPS} words=${percent} spoken=${percent}
          note=${ORIGINS[tuning.jitter.from]} onInput=${put("jitter")} />
        <label class="tick"><input class="check" type="checkbox" checked=${chosen.doorbell} onChange=${(event) => put("doorbell")(event.currentTarget.checked)} />
          <span><span>Doorbell</span><span class="hint">Instances tell each other of each write; ${ORIGINS[tuning.doorbell.from]}</span></span></label>
        <${Forecast} instance=${instance} changes=${bodyOf(tuning, draft, false)} present=${{ interval_s: tuning.interval_s.value, idle_interval_s: tuning.idle_interval_s.value }} />
        ${problem && html`<${FieldError} text=${problem} />`}
        <div class="row row-wrap tune-do">
          ${fleetSize > 1 && html`
            <${Button} kind="primary" small busy=${busy === "all" && "Applying…"} disabledBecause=${notNow || (unchangedEverywhere && "Nothing is changed yet.")} onClick=${() => apply(true)}>Apply to all ${fleetSize} instances<//>`}
          <${Button} kind=${fleetSize > 1 ? "" : "primary"} small busy=${busy === "one" && "Applying…"} disabledBecause=${notHere || (unchanged && "Nothing is changed yet.")} onClick=${() => apply(false)}>Apply to ${fleetSize > 1 ? "this instance" : name}<//>
          <${Button} kind="quiet" small disabledBecause=${isReset && "All is as in the settings."} onClick=${() => setDraft(isDrafted ? {} : resetDraft(tuning))}>${isDrafted ? "Put it back" : "Reset to settings"}<//>
        </div>
        ${notHere && html`<p class="hint">${notHere} ${isCutOff && fleetSize > 1 ? "All instances together can be tuned." : "It works again by itself."}</p>`}
      </div>
    </section>`;
}
