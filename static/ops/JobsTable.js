import { html, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { api } from "../lib/api.js";
import { explain } from "../lib/problems.js";
import { shortTime } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { toast } from "../ui/toasts.js";
import { duration, interval } from "./figures.js";
import { atInstance } from "./instances.js";
import { useWatched } from "./watch.js";

const EVERY_MS = 5_000;

/** The jobs of an instance: how each went last, when it runs next, and run now or pause. */
export function JobsTable({ instance = null, end }) {
  const jobs = useWatched(`jobs ${instance}`, (signal) => api.get(atInstance("/ops/jobs", instance), { signal }), EVERY_MS);
  const skeleton = useSkeleton(!jobs.data && !jobs.error);
  return html`
    <section class="panel" aria-labelledby="ops-jobs">
      <div class="panel-head"><h2 id="ops-jobs">Jobs</h2><span class="end">${end}</span></div>
      ${!jobs.data && jobs.error && html`<${LoadError} what="The jobs" error=${jobs.error} retry=${jobs.refresh} />`}
      ${skeleton && html`<${RowsSkeleton} label="Loading the jobs" />`}
      ${jobs.data && !skeleton && html`
        <table class="table jobs">
          <thead><tr><th scope="col">Job</th><th scope="col">Last run</th><th scope="col" class="n hide-phone">Took</th><th scope="col" class="n hide-phone">Next</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
          <tbody>${jobs.data.items.map((job) => html`<${Row} key=${job.id} job=${job} instance=${instance} onChanged=${jobs.refresh} />`)}</tbody>
        </table>`}
    </section>`;
}

function Row({ job, instance, onChanged }) {
  const [busy, setBusy] = useState(false);
  const act = async (request, words) => {
    setBusy(true);
    try {
      await request();
      toast(words);
      onChanged();
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
      announce(explain(error), { urgent: true });
    }
    setBusy(false);
  };
  const path = `/ops/jobs/${encodeURIComponent(job.id)}`;
  const run = () => act(() => api.post(atInstance(`${path}/run`, instance)), `${job.title} runs now`);
  const pause = () => act(() => api.patch(atInstance(path, instance), { paused: !job.paused }), job.paused ? `${job.title} goes on` : `${job.title} is paused`);
  const { mark, words } = lastWords(job);
  return html`
    <tr>
      <th scope="row"><span class="row"><span class="dotmark" data-s=${mark}></span>${job.title}</span><span class="role job-when">${scheduleWords(job)}</span></th>
      <td class=${mark === "bad" ? "bad-ink" : ""}>${words}</td>
      <td class="n hide-phone">${duration(job.last?.duration_ms)}</td>
      <td class="n hide-phone">${job.paused || !job.next_run_at ? "–" : shortTime(job.next_run_at)}</td>
      <td class="n"><span class="row job-do">
        <${Button} small kind="quiet" icon="play" disabledBecause=${job.running && "It runs just now."} busy=${busy && "…"} aria-label=${`Run ${job.title} now`} onClick=${run}>Run<//>
        <${Button} small kind="quiet" aria-label=${`${job.paused ? "Resume" : "Pause"} ${job.title}`} onClick=${pause}>${job.paused ? "Resume" : "Pause"}<//>
      </span></td>
    </tr>`;
}

function lastWords({ paused, running, last }) {
  if (running) return { mark: "run", words: "Running" };
  if (paused) return { mark: "idle", words: "Paused" };
  if (!last) return { mark: "idle", words: "Not run yet" };
  if (last.outcome === "failed") return { mark: "bad", words: `Failed, ${shortTime(last.started_at)}${last.detail && `: ${last.detail}`}` };
  if (last.outcome === "skipped") return { mark: "idle", words: `Left out, ${shortTime(last.started_at)}${last.detail && `: ${last.detail}`}` };
  return { words: `Fine, ${shortTime(last.started_at)}` };
}

function scheduleWords({ schedule, scope }) {
  const when = schedule.kind === "cron" ? `at ${schedule.cron} UTC` : `every ${interval(schedule.interval_s)}`;
  return scope === "leader" ? `${when}, on the leader alone` : when;
}
