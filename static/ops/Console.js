/** The operator's console: its own rail and bar around the page that the path names. Fetched when it is first opened. */

import { html } from "../vendor/preact.js";
import { usePlace } from "../lib/router.js";
import { addStyleSheet } from "../lib/styles.js";
import { NotFound } from "../ui/NotFound.js";
import { Audit } from "./Audit.js";
import { Backups } from "./Backups.js";
import { ConsoleBar, ConsoleRail } from "./ConsoleRail.js";
import { Jobs } from "./Jobs.js";
import { Maintenance } from "./Maintenance.js";
import { Replication } from "./Replication.js";
import { Users } from "./Users.js";

const STYLES = ["vendor/uplot.css", "css/console.css", "css/fleet.css", "css/chart.css", "css/tuning.css", "css/copies.css", "css/backups.css", "css/users.css", "css/audit.css"];
const PAGES = { "/ops/replication": Replication, "/ops/jobs": Jobs, "/ops/backups": Backups, "/ops/maintenance": Maintenance, "/ops/users": Users, "/ops/audit": Audit };

await Promise.all(STYLES.map(addStyleSheet));

/** `path` begins with /ops/. The query's `instance` says whom the page is about; without one it is the instance that answers. */
export function Console({ path }) {
  const { query } = usePlace();
  const Page = PAGES[path] ?? NotFound;
  const instance = new URLSearchParams(query).get("instance");
  return html`
    <div class="app app-two">
      <${ConsoleRail} path=${path} />
      <main class="pane" id="main" tabindex="-1"><${Page} instance=${instance} /></main>
      <${ConsoleBar} path=${path} />
    </div>`;
}
