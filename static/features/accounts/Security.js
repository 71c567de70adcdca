/** How a person gets in, and where they are in: the security settings. Fetched when they are first opened. */

import { html } from "../../vendor/preact.js";
import { Devices } from "./Devices.js";

export function Security() {
  return html`<${Devices} />`;
}
