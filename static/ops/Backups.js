import { html, useState } from "../vendor/preact.js";
import { announce } from "../lib/announce.js";
import { explain } from "../lib/problems.js";
import { Button } from "../ui/Button.js";
import { Empty } from "../ui/Empty.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { toast } from "../ui/toasts.js";
import { BackupRow } from "./BackupRow.js";
import { failureTitle, runningOf, useBackups, verdictOf, workTitle, workWords } from "./backupWords.js";
import { ops } from "./instances.js";
import { Progress } from "./Progress.js";
import { Standing } from "./Standing.js";
import { Verdict } from "./Verdict.js";

const HEADS = [["Made"], ["Proof"], ["Size", "n hide-phone"], ["At", "hide-phone"], [html`<span class="sr">Actions</span>`]];

/** The backups: could everything be restored, what runs, and each one with what can be done with it. */
export function Backups({ instance }) {
  const backups = useBackups(instance);
  const [asking, setAsking] = useState(false);
  const skeleton = useSkeleton(!backups.data && !backups.error);
  const running = backups.data && runningOf(backups.data.works);
  const last = backups.data && !running && newestTold(backups.data.works);
  const busy = running && `${workTitle(running)}. Wait until that has ended.`;
  const act = async (request, words) => {
    try {
      await request();
      announce(words);
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
      announce(explain(error), { urgent: true });
    }
    await backups.refresh();
  };
  const make = async () => {
    setAsking(true);
    await act(() => ops.post("/backups", instance, {}), "A backup is being made.");
    setAsking(false);
  };
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="Backups" verdict=${verdictOf(backups.data)} at=${backups.at} />
      ${(running || last) && html`
        <section class="panel" aria-label="What runs">
          ${running && html`<${Standing} mark="run" title=${`${workTitle(running)}…`}><${Progress} label=${workTitle(running)} done=${running.done_bytes} most=${running.total_bytes}>${workWords(running)}<//><//>`}
          ${last?.error && html`<${Standing} mark="bad" title=${failureTitle(last)} text=${last.error} />`}
          ${last?.made && html`<${Standing} mark="ok" title=${last.made} text="Whoever belongs to it finds it among their spaces." />`}
        </section>`}
      <section class="panel" aria-labelledby="ops-backups">
        <div class="panel-head"><h2 id="ops-backups" tabindex="-1">Backups</h2>
          <span class="end"><${Button} kind="primary" small icon="archive" busy=${asking && "Beginning…"} disabledBecause=${busy} onClick=${make}>Make a backup<//></span></div>
        ${backups.error && html`<div class="one-error"><${LoadError} what="The backups" error=${backups.error} retry=${backups.refresh} /></div>`}
        ${skeleton && html`<${RowsSkeleton} label="Loading the backups" />`}
        ${backups.data && !skeleton && (backups.data.items.length > 0
          ? html`
            <table class="table backups" role="table">
              <thead role="rowgroup"><tr role="row">${HEADS.map(([text, kind]) => html`<th role="columnheader" scope="col" class=${kind}>${text}</th>`)}</tr></thead>
              <tbody role="rowgroup">${backups.data.items.map((item) => html`<${BackupRow} key=${item.id} backup=${item} instance=${instance} busy=${busy} act=${act} onChanged=${backups.refresh} />`)}</tbody>
            </table>`
          : html`<${Empty} title="No backups yet">One is made every night at 02:00 UTC, and proved at once.<//>`)}
      </section>
    </div></div>`;
}

/** What ended last of that which the list of backups does not tell. */
const newestTold = (works) => works.filter((work) => work.state === "failed" || work.made).sort((a, b) => (a.started_at < b.started_at ? 1 : -1))[0] ?? null;
