import { html } from "../vendor/preact.js";
import { capital, list, pluralWord } from "../lib/words.js";
import { JobsTable, useJobs } from "./JobsTable.js";
import { Verdict } from "./Verdict.js";

/** What runs by itself at one instance: whether all went well, then each job. */
export function Jobs({ instance }) {
  const jobs = useJobs(instance);
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="Jobs" verdict=${verdictOf(jobs.data?.items ?? null)} at=${jobs.at} />
      <${JobsTable} jobs=${jobs} instance=${instance} name=${instance} />
    </div></div>`;
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
