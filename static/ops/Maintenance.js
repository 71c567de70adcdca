import { html, useState } from "../vendor/preact.js";
import { explain } from "../lib/problems.js";
import { shortTime } from "../lib/time.js";
import { Banner } from "../ui/Banner.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { LoadError } from "../ui/LoadError.js";
import { TextArea } from "../ui/TextField.js";
import { toast } from "../ui/toasts.js";
import { ops, pageOf } from "./instances.js";
import { Standing } from "./Standing.js";
import { Verdict } from "./Verdict.js";
import { useWatched } from "./watch.js";

const EVERY_MS = 5_000;
const MESSAGE_CHARS = 500;

/** Have nobody but operators save anything for a while, and send people away from one instance. */
export function Maintenance({ instance }) {
  const state = useWatched(`maintenance ${instance}`, (signal) => ops.get("/maintenance", instance, { signal }), EVERY_MS);
  const fleet = useWatched("fleet", (signal) => ops.get("/instances", null, { signal }), 30_000);
  const items = fleet.data?.items.filter((item) => item.state !== "gone") ?? [];
  const name = instance ?? items.find((item) => item.is_self)?.id ?? "this instance";
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="Maintenance" verdict=${verdictOf(state.data)} at=${state.at} />
      ${state.error && html`<div class="one-error"><${LoadError} what="Whether maintenance is on" error=${state.error} retry=${state.refresh} /></div>`}
      ${state.data && html`
        <${Words} key=${state.data.on} state=${state.data} onChanged=${state.refresh} />
        <${Drain} state=${state.data} instance=${instance} name=${name} items=${items} onChanged=${state.refresh} />`}
    </div></div>`;
}

function Words({ state, onChanged }) {
  const [message, setMessage] = useState(state.message);
  const [asks, setAsks] = useState(false);
  const said = message.trim();
  const put = () => ops.put("/maintenance", null, { message: said });
  return html`
    <section class="panel" aria-labelledby="ops-words">
      <div class="panel-head"><h2 id="ops-words">For all instances</h2></div>
      <${TextArea} label="What people are told" hint="Say what is being done, and when it will be over." maxlength=${MESSAGE_CHARS} value=${message} onInput=${setMessage} />
      <p class="hint maintenance-preview">People see:</p>
      <${Banner} kind="warn" icon="wrench" boxed><strong>Being maintained.</strong> ${said || "What you say stands here."}<//>
      <p class="row maintenance-do">
        ${state.on
          ? html`
            <${Button} kind="primary" onClick=${() => tried(() => ops.delete("/maintenance", null), "Maintenance is over", onChanged)}>Turn it off<//>
            <${Button} disabledBecause=${!said || said === state.message ? "The words are the same." : null} onClick=${() => tried(put, "People are told the new words", onChanged)}>Change the words<//>`
          : html`<${Button} kind="primary" disabledBecause=${said ? null : "Say first what people are to be told."} onClick=${() => setAsks(true)}>Turn maintenance on…<//>`}
      </p>
      ${asks && html`
        <${ConfirmDialog} title="Turn maintenance on?" verb="Turn it on" busyVerb="Turning it on…" act=${put} onClose=${() => setAsks(false)} onDone=${onChanged}>
          <ul class="follows">
            <li>Nobody but operators saves anything, on any instance. People go on reading; what they write waits on their device and goes out afterwards.</li>
            <li>Load balancers that ask whether instances are ready send nobody any more.</li>
            <li>It stays on, also after a restart, until an operator turns it off.</li>
          </ul>
        <//>`}
    </section>`;
}

function Drain({ state, instance, name, items, onChanged }) {
  const [asks, setAsks] = useState(false);
  return html`
    <section class="panel" aria-labelledby="ops-drain">
      <div class="panel-head"><h2 id="ops-drain">One instance</h2><span class="end">${name}</span></div>
      ${items.length > 1 && html`
        <nav class="row row-wrap sm" aria-label="Which instance">
          ${items.map(({ id, is_self: isSelf }) => html`<a class="instance-link" key=${id} href=${pageOf(isSelf ? null : id, "/ops/maintenance")} aria-current=${id === name ? "page" : undefined}>${id}</a>`)}
        </nav>`}
      ${state.draining
        ? html`<${Standing} mark="warn" title=${`${name} is drained`} text="Load balancers send people elsewhere; whoever comes all the same is answered.">
            <p><${Button} small onClick=${() => tried(() => ops.delete("/drain", instance), `${name} takes traffic again`, onChanged)}>Take traffic again<//></p><//>`
        : html`<${Standing} mark="ok" icon="circle-check" title=${`${name} takes traffic`} text="Drain it before you stop it: people move to the other instances first.">
            <p><${Button} small onClick=${() => setAsks(true)}>Drain ${name}…<//></p><//>`}
      ${asks && html`
        <${ConfirmDialog} title=${`Drain ${name}?`} verb="Drain it" busyVerb="Draining…" act=${() => ops.post("/drain", instance, {})} onClose=${() => setAsks(false)} onDone=${onChanged}>
          <p>It says that it is not ready, and its live connections end, so that browsers connect to another instance. ${items.length > 1 ? "" : "There is no other one: people would see no news until it takes traffic again."}</p>
        <//>`}
    </section>`;
}

async function tried(request, words, onChanged) {
  try {
    await request();
    toast(words);
  } catch (error) {
    toast(explain(error), { icon: "circle-alert" });
  }
  await onChanged();
}

function verdictOf(state) {
  if (state === null) return { key: null, parts: ["Maintenance"] };
  if (state.on) return { key: "on", parts: [{ mark: "Maintenance is on", kind: "warn" }, ` since ${shortTime(state.since)}: nobody but operators saves anything.`] };
  return { key: "off", parts: ["People read and write as usual."] };
}
