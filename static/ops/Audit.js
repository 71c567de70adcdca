import { html } from "../vendor/preact.js";
import { api } from "../lib/api.js";
import { navigate, usePlace } from "../lib/router.js";
import { dayLabel, dayOf } from "../lib/time.js";
import { Button } from "../ui/Button.js";
import { Empty } from "../ui/Empty.js";
import { Icon } from "../ui/Icon.js";
import { LoadError } from "../ui/LoadError.js";
import { RowsSkeleton, useSkeleton } from "../ui/Skeleton.js";
import { AuditEntry } from "./AuditEntry.js";
import { AuditFilter, FILTERS, queryOf } from "./AuditFilter.js";
import { AuditSeal, sealVerdict, useSeal } from "./AuditSeal.js";
import { More } from "./More.js";
import { usePages } from "./pages.js";
import { Verdict } from "./Verdict.js";

const PAGE = 50;

/** The audit record: who did what to whom, in sentences, newest first; whether it is whole; and the way to take it away. */
export function Audit() {
  const { query } = usePlace();
  const wanted = Object.fromEntries(FILTERS.map((name) => [name, new URLSearchParams(query).get(name) ?? ""]));
  const asked = queryOf(wanted);
  const pages = usePages(asked, (cursor, signal) => api.get(`/ops/audit?limit=${PAGE}${asked && `&${asked}`}${cursor ? `&cursor=${cursor}` : ""}`, { signal, aside: true }));
  const seal = useSeal();
  const skeleton = useSkeleton(pages.items === null && !pages.error);
  const put = (change) => navigate(pathOf({ ...wanted, ...change }), { replace: true });
  const isFiltered = asked !== "";
  return html`
    <div class="scroll"><div class="ops ops-one">
      <${Verdict} title="Audit record" verdict=${sealVerdict(seal)} at=${seal.at} />
      <${AuditSeal} seal=${seal} />
      <section class="panel" aria-labelledby="audit-list">
        <div class="panel-head audit-head"><h2 id="audit-list" tabindex="-1">${isFiltered ? "What fits" : "Everything"}, newest first</h2>
          <span class="end row row-wrap">
            <${Button} small kind="quiet" icon="refresh-cw" onClick=${pages.reload}>Look again<//>
            <${TakeAway} asked=${asked} format="csv" label="CSV" /><${TakeAway} asked=${asked} format="jsonl" label="JSON lines" />
          </span></div>
        <${AuditFilter} wanted=${wanted} items=${pages.items ?? []} put=${put} clear=${() => navigate("/ops/audit", { replace: true })} />
        ${pages.error && html`<div class="one-error"><${LoadError} what="The record" error=${pages.error} retry=${pages.reload} /></div>`}
        ${skeleton && html`<${RowsSkeleton} label="Loading the record" rows=${6} />`}
        ${pages.items && !skeleton && html`<${Days} pages=${pages} put=${put} />`}
        ${pages.items?.length === 0 && html`
          <div class="audit-none"><${Empty} title=${isFiltered ? "Nothing fits" : "Nothing happened yet"} actions=${isFiltered && html`<${Button} onClick=${() => navigate("/ops/audit", { replace: true })}>Show everything<//>`}>
            ${isFiltered ? "No entry fits all of what you chose. Take something away, or look at other days." : "Whatever changes who gets in, and what operators do, is recorded here."}<//></div>`}
      </section>
    </div></div>`;
}

function Days({ pages, put }) {
  const days = [];
  for (const entry of pages.items) {
    const day = dayOf(entry.at);
    if (days[days.length - 1]?.day !== day) days.push({ day, at: entry.at, entries: [] });
    days[days.length - 1].entries.push(entry);
  }
  return html`
    <div aria-busy=${pages.isLoading ? "true" : undefined}>
      ${days.map(({ day, at, entries }) => html`
        <section class="audit-day" key=${day} aria-label=${dayLabel(at)}>
          <h3 class="audit-date">${dayLabel(at)}</h3>
          <ol class="entries">${entries.map((entry) => html`<${AuditEntry} key=${entry.id} entry=${entry} put=${put} />`)}</ol>
        </section>`)}
      ${pages.hasMore && html`<${More} pages=${pages} />`}
    </div>`;
}

/** What fits, as a file. */
const TakeAway = ({ asked, format, label }) =>
  html`<a class="btn btn-s btn-quiet" href=${`/api/ops/audit/export?format=${format}${asked && `&${asked}`}`} download><${Icon} name="download" small />${label}</a>`;

function pathOf(wanted) {
  const given = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
  return given.size ? `/ops/audit?${given}` : "/ops/audit";
}
