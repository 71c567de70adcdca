import { html } from "../vendor/preact.js";
import { capital, list, pluralWord } from "../lib/words.js";
import { ops, pageOf } from "./instances.js";
import { JobsTable, useJobs } from "./JobsTable.js";
import { Verdict } from "./Verdict.js";
import { useWatched } from "./watch.js";

const FLEET_EVERY_MS = 30_000;

/** What runs by itself at one instance: whether all went well, then each job, and the way to the others. */
export function Jobs({ instance }) {
  const jobs = useJobs(instance);
  const fleet = useWatched("fleet", (signal) => ops.get("/instances", null, { signal }), FLEET_EVERY_MS);
  const items = fleet.data?.items.filter((item) => item.state !== "gone") ?? [];
  const name = instance ?? items.find((item) => item.is_self)?.id ?? null;
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="Jobs" verdict=${verdictOf(jobs.data?.items ?? null)} at=${jobs.at} />
      ${items.length > 1 && html`<${Instances} items=${items} chosen=${name} />`}
      <${JobsTable} jobs=${jobs} instance=${instance} name=${name} />
    </div></div>`;
}

function Instances({ items, chosen }) {
  return html`
    <nav class="row row-wrap sm" aria-label="Whose jobs">
      <span class="ink-3">Jobs at</span>
      ${items.map(({ id, is_self: isSelf }) => html`
        <a class="instance-link" key=${id} href=${pageOf(isSelf ? null : id, "/ops/jobs")} aria-current=${id === chosen ? "page" : undefined}>${id}</a>`)}
    </nav>`;
}

function verdictOf(items) {
  if (items === null) return { key: null, parts: ["Jobs"] };
  const titles = (wanted) => items.filter(wanted).map((job) => job.title);
  const failed = titles((job) => !job.paused && job.last?.outcome === "failed");
  const paused = titles((job) => job.paused);
  const rest = paused.length ? ` ${list(paused)} ${paused.length === 1 ? "is" : "are"} paused.` : "";
  if (failed.length === 0) return { key: rest, parts: [paused.length ? `All others run well.${rest}` : "Everything that runs by itself runs well."] };
  return { key: `${failed} ${rest}`, parts: [{ mark: `${capital(pluralWord(failed.length, "job"))} failed` }, `: ${list(failed)}.${rest}`] };
}
