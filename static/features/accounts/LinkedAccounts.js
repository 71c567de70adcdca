import { html, useState } from "../../vendor/preact.js";
import { explain } from "../../lib/problems.js";
import { fullTime, shortTime } from "../../lib/time.js";
import { Button } from "../../ui/Button.js";
import { ConfirmDialog } from "../../ui/ConfirmDialog.js";
import { toast } from "../../ui/toasts.js";
import { useLoaded } from "../../ui/useLoaded.js";
import { ensureConfirmed } from "./confirm.js";
import { ProviderMark } from "./ProviderMark.js";
import { Section } from "./Section.js";
import { listLinked, unlink } from "./ownSecurity.js";
import { providerLink, useWaysIn } from "./waysIn.js";

/** Accounts elsewhere that sign in here. Nothing is said of them where no provider is set up and none is linked. */
export function LinkedAccounts() {
  const ways = useWaysIn();
  const linked = useLoaded(listLinked);
  const [leaving, setLeaving] = useState(null);
  const items = linked.data ?? [];
  const others = (ways?.items ?? []).filter((provider) => !items.some((account) => account.provider === provider.id));
  if (!linked.error && items.length + others.length === 0) return null;

  const unlinked = () => {
    linked.put(items.filter((other) => other.id !== leaving.id));
    toast(`${leaving.provider_name} is not linked any more`);
  };
  const link = async (provider) => {
    try {
      await ensureConfirmed();
      location.assign(providerLink(provider, { next: "/settings/security", purpose: "link" }));
    } catch (error) {
      toast(explain(error), { icon: "circle-alert" });
    }
  };
  return html`
    <${Section} id="linked" title="Linked accounts" loaded=${linked} what="Your linked accounts">
      <p class="sect-note">Accounts you have elsewhere. Each that is linked signs you in here.</p>
      ${items.length + others.length > 0 && html`
        <ul class="things">
          ${items.map((account) => html`
            <li class="thing" key=${account.id}>
              <${ProviderMark} id=${account.provider} />
              <div class="line-main"><b>${account.provider_name}</b><span class="line-sub">${account.email && html`<span class="break">${account.email}</span> · `}linked <${When} time=${account.created_at} />${account.used_at && html` · last used <${When} time=${account.used_at} />`}</span></div>
              <${Button} small kind="quiet" aria-label=${`Unlink ${account.provider_name}`} onClick=${() => setLeaving(account)}>Unlink…<//>
            </li>`)}
          ${others.map((provider) => html`
            <li class="thing" key=${provider.id}>
              <${ProviderMark} id=${provider.id} />
              <div class="line-main"><b>${provider.name}</b><span class="line-sub">Not linked</span></div>
              <${Button} small aria-label=${`Link ${provider.name}`} onClick=${() => link(provider)}>Link<//>
            </li>`)}
        </ul>`}
      ${leaving && html`
        <${ConfirmDialog} title=${`Unlink ${leaving.provider_name}?`} verb="Unlink it" busyVerb="Unlinking…" act=${() => unlink(leaving.id)} onClose=${() => setLeaving(null)} onDone=${unlinked}>
          <p>It does not sign you in here any more. The account there stays as it is.</p>
        <//>`}
    <//>`;
}

const When = ({ time }) => html`<time class="num" datetime=${time} title=${fullTime(time)}>${shortTime(time)}</time>`;
