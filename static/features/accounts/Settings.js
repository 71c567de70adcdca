import { html, useState } from "../../vendor/preact.js";
import { letters, switchLetters } from "../../lib/keyboard.js";
import { outbox } from "../../lib/outbox.js";
import { explain } from "../../lib/problems.js";
import { useStore } from "../../lib/store.js";
import { addStyleSheet } from "../../lib/styles.js";
import { chooseTheme, theme } from "../../lib/theme.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { FieldError } from "../../ui/Field.js";
import { Icon } from "../../ui/Icon.js";
import { Segments } from "../../ui/Segments.js";
import { Picture } from "./Picture.js";
import { Profile } from "./Profile.js";
import { session, signOut } from "./session.js";

await addStyleSheet("css/profile.css");

const THEMES = [["system", "As the system", "sun-moon"], ["light", "Light", "sun"], ["dark", "Dark", "moon"]];

/** Who the person is to others, what they set for this device, and the way out. */
export function Settings({ showKeys }) {
  const user = useStore(session, (state) => state.user);
  const { choice } = useStore(theme);
  const { on } = useStore(letters);
  return html`
    <section class="sect" aria-labelledby="set-you">
      <div class="sect-head"><h2 id="set-you">You</h2></div>
      <${Picture} user=${user} />
      <${Profile} user=${user} />
    </section>
    <section class="sect" aria-labelledby="set-look">
      <div class="sect-head"><h2 id="set-look">Light and dark</h2></div>
      <${Segments} label="Light and dark" value=${choice} onChange=${chooseTheme} options=${THEMES} />
    </section>
    <section class="sect" aria-labelledby="set-keys">
      <div class="sect-head"><h2 id="set-keys">Keys</h2></div>
      <label class="tick"><input class="check" type="checkbox" checked=${on} onChange=${(event) => switchLetters(event.currentTarget.checked)} />
        <span><span>Single letters do things</span><span class="hint">Such as E to edit. Switch it off when you dictate or use another tool that types letters.</span></span></label>
      <p class="gap-t"><${Button} small onClick=${showKeys}>Show all keys<//></p>
    </section>
    ${user.is_operator && html`
      <section class="sect" aria-labelledby="set-ops">
        <div class="sect-head"><h2 id="set-ops">Operations</h2></div>
        <p class="ink-2 sm">How this place runs: its instances, how fresh they are, and its jobs.</p>
        <p class="gap-t"><a class="btn" href="/ops/replication"><${Icon} name="activity" />Open the console</a></p>
      </section>`}
    <${SignOut} />`;
}

function SignOut() {
  const waiting = useStore(outbox, (state) => state.entries.length);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const leave = async () => {
    setBusy(true);
    try {
      await signOut();
    } catch (error) {
      setBusy(false);
      setProblem(explain(error));
    }
  };
  return html`
    <section class="sect" aria-labelledby="set-out">
      <div class="sect-head"><h2 id="set-out">Sign out</h2></div>
      ${waiting > 0 && html`<p class="ink-2 sm">${plural(waiting, "message waits", "messages wait")} on this device until you sign in here again.</p>`}
      ${problem && html`<${FieldError} text=${problem} role="alert" />`}
      <p class="gap-t"><${Button} icon="log-out" busy=${busy && "Signing out…"} onClick=${leave}>Sign out of this device<//></p>
    </section>`;
}
