import { html } from "../vendor/preact.js";
import { Alerts } from "./Alerts.js";
import { Command } from "./Command.js";
import { count } from "./figures.js";
import { JobsTable, useJobs } from "./JobsTable.js";
import { Verdict } from "./Verdict.js";

const VERDICT = { key: "standalone", parts: ["There is one file here, and nothing to replicate."] };

/** The page of a place that keeps everything in one file. */
export function Standalone({ self, conditions, status, at }) {
  const jobs = useJobs(null);
  return html`
    <div class="scroll"><div class="ops">
      <${Verdict} title="Fleet and replication" verdict=${VERDICT} at=${at} />
      <div class="ops-a">${conditions.data && html`<${Alerts} conditions=${conditions.data.items} />`}</div>
      <div class="ops-facts"><dl class="facts">
        <div class="fact"><dt>Instance</dt><dd>${self.id}</dd></div>
        <div class="fact"><dt>Feed position</dt><dd>${count(status.data?.feed_seq ?? self.feed_seq)}</dd></div>
        <div class="fact"><dt>Open streams</dt><dd>${count(self.open_streams)}</dd></div>
        <div class="fact"><dt>Version</dt><dd>${self.version}</dd></div>
      </dl></div>
      <div class="ops-l"><${JobsTable} jobs=${jobs} /></div>
      <div class="ops-r">
        <section class="panel" aria-labelledby="ops-alone">
          <div class="panel-head"><h2 id="ops-alone">When people are far away</h2></div>
          <div class="stack ink-2 sm lead-s">
            <p>Reads and writes go to the same file on this machine, so nobody is ever behind.</p>
            <p>To serve people in other regions from a copy near them, give each instance the address of a libSQL primary in <code>primary.url</code>. This page then shows
              how far behind each of them is, and lets you tune it.</p>
            <p>Until then there is no copy to compare with a primary, to rebuild or to promote: this file is all there is.
              With this server stopped, all of it moves to an empty primary: <${Command} text="groupspaces db push" /></p>
          </div>
        </section>
      </div>
    </div></div>`;
}
