import { html, useEffect, useState } from "../../vendor/preact.js";
import { announce } from "../../lib/announce.js";
import { PasswordField } from "../../ui/TextField.js";
import { loadEstimator, strengthOf } from "./strength.js";

const SHORTEST = 8;
const SPOKEN_AFTER_MS = 900;

/** What is wrong with a new password before anybody is asked, or null. */
export function newPasswordProblem(password) {
  const missing = SHORTEST - [...password].length;
  if (missing <= 0) return null;
  return password ? `${missing} more ${missing === 1 ? "character" : "characters"}, please.` : "Choose a password.";
}

/** A new password, with how easily it is guessed. `own`: the person's name and e-mail, which others would try first. */
export function NewPasswordField({ label = "Password", value, own = [], ...rest }) {
  const [isReady, setReady] = useState(false);
  const strength = isReady ? strengthOf(value, own) : null;
  const load = () => loadEstimator().then(() => setReady(true), () => setReady(false));
  useEffect(() => {
    if (!strength) return undefined;
    const timer = setTimeout(() => announce(`Password: ${strength.words}`), SPOKEN_AFTER_MS);
    return () => clearTimeout(timer);
  }, [strength?.words]);
  return html`
    <div class="new-password">
      <${PasswordField} label=${label} name="password" autocomplete="new-password" maxlength="256" ...${rest} value=${value} onFocus=${load}
        hint=${`${SHORTEST} characters or more. A sentence you remember is fine; symbols are not needed.`} />
      ${strength && html`<${Meter} strength=${strength} />`}
    </div>`;
}

/** Four marks that fill, and the words for it. */
function Meter({ strength: { score, words, advice } }) {
  return html`
    <div class="strength" data-score=${score}>
      <span class="strength-marks" aria-hidden="true">${[1, 2, 3, 4].map((mark) => html`<i data-full=${mark <= score ? "" : undefined}></i>`)}</span>
      <p><b>${words}.</b>${advice && html` <span>${advice}</span>`}</p>
    </div>`;
}
