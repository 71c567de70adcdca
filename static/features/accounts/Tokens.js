/** API tokens: keys for programs that act for the person. Fetched when the page is first opened. */

import { html, useState } from "../../vendor/preact.js";
import { useStore } from "../../lib/store.js";
import { addStyleSheet } from "../../lib/styles.js";
import { fullTime, shortTime } from "../../lib/time.js";
import { plural } from "../../lib/words.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { Icon } from "../../ui/Icon.js";
import { toast } from "../../ui/toasts.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { spaces } from "../spaces/spaces.js";
import { endWords, listTokens, revokeToken, scopeWords } from "./apiTokens.js";
import { FreshToken } from "./FreshToken.js";
import { MakeToken } from "./MakeToken.js";
import { Section } from "./Section.js";

await addStyleSheet("css/tokens-page.css");

export function Tokens() {
  const tokens = useLoaded(listTokens);
  const [making, setMaking] = useState(false);
  const [fresh, setFresh] = useState(null);
  const [leaving, setLeaving] = useState(null);
  const items = tokens.data ?? [];

  const made = ({ token, ...rest }) => {
    setFresh({ token, ...rest });
    tokens.put((before) => [rest, ...(before ?? [])]);
  };
  const revoked = () => {
    tokens.put((before) => before.filter((other) => other.id !== leaving.id));
    if (fresh?.id === leaving.id) setFresh(null);
    toast(`${leaving.name} is revoked`);
  };
  return html`
    <${Section} id="tokens" title="API tokens" loaded=${tokens} what="Your tokens" rows=${2}
      actions=${html`<${Button} icon="plus" onClick=${() => setMaking(true)}>Make a token…<//>`}>
      <p class="sect-note">A token lets a program act for you, without your password. Give each program its own, and revoke what you do not use. <a href="/api/docs" target="_blank" rel="noopener">What they can call</a></p>
      ${fresh && html`<${FreshToken} key=${fresh.id} token=${fresh} onDone=${() => setFresh(null)} />`}
      ${items.length > 0
        ? html`<ul class="things">${items.map((token) => html`<${Token} key=${token.id} token=${token} revoke=${() => setLeaving(token)} />`)}</ul>`
        : html`<p class="tokens-none ink-2">No program acts for you.</p>`}
      ${making && html`<${MakeToken} onClose=${() => setMaking(false)} onMade=${made} onLost=${tokens.reload} />`}
      ${leaving && html`
        <${ConfirmDialog} title=${`Revoke ${leaving.name}?`} verb="Revoke it" busyVerb="Revoking…" act=${() => revokeToken(leaving.id)} onClose=${() => setLeaving(null)} onDone=${revoked}>
          <p>Whatever uses it is refused at once. What it did stays. This cannot be undone; you can make another one.</p>
        <//>`}
    <//>`;
}

function Token({ token, revoke }) {
  const { items } = useStore(spaces);
  const { words, kind, days } = endWords(token);
  return html`
    <li class="thing" data-over=${kind === "over" ? "" : undefined}>
      <${Icon} name="key" />
      <div class="line-main">
        <span class="row row-wrap"><b class="break">${token.name}</b><code class="token-hint">gs_…${token.hint}</code>
          ${kind === "over" && html`<span class="chip">Ended</span>`}
          ${kind === "soon" && html`<span class="chip chip-warn">Ends in ${plural(days, "day")}</span>`}</span>
        <span class="line-sub">${scopeWords(token.scopes, items)}</span>
        <span class="line-sub num">${token.used_at ? html`Last used <${When} time=${token.used_at} />` : "Not used yet"} · ${token.expires_at ? html`<time datetime=${token.expires_at} title=${fullTime(token.expires_at)}>${words}</time>` : words}</span>
      </div>
      <${Button} small kind="quiet" aria-label=${`Revoke ${token.name}`} onClick=${revoke}>${kind === "over" ? "Remove…" : "Revoke…"}<//>
    </li>`;
}

const When = ({ time }) => html`<time datetime=${time} title=${fullTime(time)}>${shortTime(time)}</time>`;
