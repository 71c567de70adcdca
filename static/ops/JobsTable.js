import { html, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { explain } from "../lib/problems.js";
import { shortTime } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { toast } from "../ui/toasts.js";
import { duration, interval, NONE } from "./figures.js";
import { ops } from "./instances.js";
import { useWatched } from "./watch.js";

const EVERY_MS = 5_000;
const SOON_S = 60;

// What people notice at once when it stops.
const ASKED_BEFORE_PAUSE = { replica_sync: "Without it this instance shows people what it has now and nothing newer, except where another instance rings." };

/** The jobs of an instance, as `useWatched` gives them. */
export const useJobs = (instance) => useWatched(`jobs ${instance}`, (signal) => ops.get("/jobs", instance, { signal }), EVERY_MS);

/** How each job went last, when it runs next, and run now or pause. */
export function JobsTable({ jobs, instance = null, name }) {
  const skeleton = useSkeleton(!jobs.data && !jobs.error);
  return html`
    <section class="panel" aria-labelledby="ops-jobs">
      <div class="panel-head"><h2 id="ops-jobs">Jobs</h2><span class="end">${name && `at ${name}`}</span></div>
      ${jobs.error && html`<div class="one-error"><${LoadError} what="The jobs" error=${jobs.error} retry=${jobs.refresh} /></div>`}
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
  const [asks, setAsks] = useState(false);
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
  const path = `/jobs/${encodeURIComponent(job.id)}`;
  const run = () => act(() => ops.post(`${path}/run`, instance, {}), `${job.title}: running`);
  const setPaused = (paused) => ops.patch(path, instance, { paused });
  const pauseOrGoOn = () => act(() => setPaused(!job.paused), job.paused ? `${job.title}: goes on` : `${job.title}: paused`);
  const loss = ASKED_BEFORE_PAUSE[job.id];
  const { mark, words } = lastWords(job);
  return html`
    <tr>
      <th scope="row"><span class="row"><span class="dotmark" data-s=${mark}></span>${job.title}</span><span class="role job-when">${scheduleWords(job)}</span></th>
      <td class=${mark === "bad" ? "bad-ink" : ""}>${words}</td>
      <td class="n hide-phone">${duration(job.last?.duration_ms)}</td>
      <td class="n hide-phone">${nextWords(job)}</td>
      <td class="n"><span class="row job-do">
        <${Button} small kind="quiet" disabledBecause=${whyNot(job)} busy=${busy && "Running…"} aria-label=${`Run ${job.title} now`} onClick=${run}>Run now<//>
        <${Button} small kind="quiet" aria-label=${`${job.paused ? "Resume" : "Pause"} ${job.title}`} onClick=${loss && !job.paused ? () => setAsks(true) : pauseOrGoOn}>${job.paused ? "Resume" : "Pause"}<//>
      </span>
      ${asks && html`
        <${ConfirmDialog} title=${`Pause “${job.title}”?`} verb="Pause it" busyVerb="Pausing…" act=${() => setPaused(true)} onClose=${() => setAsks(false)} onDone=${onChanged}>
          <p>${loss}</p>
        <//>`}</td>
    </tr>`;
}

/** What comes by the second has no time of its own. */
function nextWords({ paused, waits_for_leader: elsewhere, next_run_at: at, schedule }) {
  if (paused || elsewhere || !at) return NONE;
  return schedule.kind === "interval" && schedule.interval_s < SOON_S ? `within ${interval(schedule.interval_s)}` : shortTime(at);
}

function whyNot(job) {
  if (job.running) return "It runs just now.";
  return job.waits_for_leader ? "It runs on the instance that leads." : null;
}

function lastWords({ paused, running, last, waits_for_leader: elsewhere }) {
  if (running) return { mark: "run", words: "Running" };
  if (paused) return { mark: "idle", words: "Paused" };
  if (elsewhere) return { mark: "idle", words: "Runs on the leader" };
  if (!last) return { mark: "idle", words: "Not run yet" };
  if (last.outcome === "failed") return { mark: "bad", words: withDetail("Failed", last) };
  return last.outcome === "skipped" ? { mark: "idle", words: withDetail("Left out", last) } : { words: `Fine, ${shortTime(last.started_at)}` };
}

const withDetail = (word, { started_at: at, detail }) => `${word}, ${shortTime(at)}${detail && `: ${detail}`}`;

function scheduleWords({ schedule }) {
  return schedule.kind === "cron" ? `at ${schedule.cron} UTC` : `every ${interval(schedule.interval_s)}`;
}
