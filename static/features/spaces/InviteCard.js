import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { applyHue, spaceHue } from "../../lib/hue.js";
import { plural } from "../../lib/words.js";
import { Seal } from "../../ui/Seal.js";

/** Look up an invite link: `{preview, error}`; both null while asking or without a code. */
export function useInvite(code) {
  const [state, setState] = useState({ preview: null, error: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!code) return undefined;
    let current = true;
    if (attempt === 0) setState({ preview: null, error: null });
    api.get(`/invites/${encodeURIComponent(code)}`, { quiet401: true }).then(
      (preview) => current && setState({ preview, error: null }),
      (error) => current && setState({ preview: null, error }),
    );
    return () => {
      current = false;
    };
  }, [code, attempt]);
  return { ...state, retry: () => setAttempt((count) => count + 1) };
}

/** "Citra invites you to Kebun Kota." */
export function InviteCard({ preview, note }) {
  const { space, invited_by: host } = preview;
  const card = useRef(null);
  const hue = spaceHue(space);
  useLayoutEffect(() => applyHue(card.current, hue), [hue.hue, hue.degrees]);
  return html`
    <div class="invite" ref=${card}>
      <${Seal} space=${space} size="l" />
      <p><b>${host.name} invites you to ${space.name}.</b><br />
        <span class="ink-2">${plural(space.member_count, "member")}${note && ` · ${note}`}</span></p>
    </div>`;
}
