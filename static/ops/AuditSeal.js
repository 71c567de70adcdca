import { html, useEffect, useState } from "../vendor/preact.js";
import { api } from "../lib/api.js";
import { announce } from "../lib/announce.js";
import { explain } from "../lib/problems.js";
import { shortTime } from "../lib/time.js";
import { plural } from "../lib/words.js";
import { Button } from "../ui/Button.js";
import { CopyLink } from "../ui/CopyLink.js";
import { FieldError } from "../ui/Field.js";
import { Icon } from "../ui/Icon.js";
import { count } from "./figures.js";

const WRONG = {
  changed: "An entry or its seal is not what was sealed.",
  removed: "Entries that were sealed are gone.",
  added: "There are entries that were not sealed.",
  signature: "None of this deployment's secrets has sealed them.",
};

/** Whether the record is whole: `{result, at, error, isChecking, check}`. Checked when the page opens, and by hand. */
export function useSeal() {
  const [state, setState] = useState({ result: null, at: null, error: null, isChecking: true });
  const check = async () => {
    setState((before) => ({ ...before, isChecking: true, error: null }));
    try {
      const result = await api.get("/ops/audit/verify", { aside: true });
      setState({ result, at: Date.now(), error: null, isChecking: false });
      return result;
    } catch (error) {
      setState((before) => ({ ...before, error, isChecking: false }));
      return null;
    }
  };
  useEffect(() => {
    check();
  }, []);
  return { ...state, check };
}

/** The sentence at the top: has anybody touched the record? */
export function sealVerdict({ result, isChecking, error }) {
  if (!result) return { key: null, parts: [isChecking ? "Checking that the record is whole…" : error ? "Whether the record is whole could not be checked." : "Audit record"] };
  if (!result.ok) return { key: "broken", parts: [{ mark: "The record was changed" }, " behind this server's back."] };
  if (!result.sealed_until) return { key: "young", parts: ["The record is young: its first seal comes within a minute."] };
  return { key: "whole", parts: ["The record is whole. Nobody has changed it."] };
}

/** Until when the record is sealed, what came of the check, and the digest to keep elsewhere. */
export function AuditSeal({ seal }) {
  const { result, error, isChecking, check } = seal;
  const verify = async () => {
    const found = await check();
    if (found) announce(found.ok ? sealedWords(found) : "The record was changed.", { urgent: !found.ok });
  };
  return html`
    <section class="seal-state" aria-labelledby="audit-seal">
      <h2 class="sr" id="audit-seal">Seal</h2>
      ${result && !result.ok && html`<${Broken} problem=${result.problem} />`}
      <div class="seal-line">
        <p class="seal-words" data-ok=${result?.ok && result.sealed_until ? "" : undefined}><${Icon} name="shield-check" /><span>${result?.ok ? sealedWords(result) : "Each entry is sealed within a minute. A seal breaks when an entry before it is changed or taken out."}</span></p>
        <${Button} small icon="shield-check" busy=${isChecking && "Checking…"} onClick=${verify}>${result ? "Verify again" : "Verify"}<//>
      </div>
      ${error && html`<${FieldError} text=${explain(error)} role="alert" />`}
      ${result?.digest && html`
        <details class="digest"><summary>Keep the newest seal elsewhere<${Icon} name="chevron-down" small /></summary>
          <p class="hint">Whoever can change the database and knows the secret could cut off the end of the record. A later record that does not hold this digest has lost it.</p>
          <${CopyLink} link=${result.digest} label="Digest of the newest seal" what="digest" />
        </details>`}
    </section>`;
}

function Broken({ problem }) {
  const { after_id: after, until_id: until, what } = problem;
  return html`
    <div class="alert" role="alert"><${Icon} name="octagon-alert" /><b>Between entry ${count(after)} and entry ${count(until)}</b>
      <div><p>${WRONG[what]} What stands before that is proved; what stands there is not. Compare with an export or a backup from before.</p></div></div>`;
}

function sealedWords({ entries, sealed_until: until, unsealed }) {
  if (!until) return unsealed ? `Nothing is sealed yet. ${plural(unsealed, "entry waits", "entries wait")} for the first seal.` : "Nothing is sealed yet.";
  const young = unsealed ? ` ${plural(unsealed, "newer entry waits", "newer entries wait")} for the next seal.` : "";
  return `Sealed until ${shortTime(until)}, verified: ${plural(entries, "entry", "entries").replace(/^\d+/, count(entries))}.${young}`;
}
