import { html, useEffect, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { explain } from "../../lib/problems.js";
import { navigate } from "../../lib/router.js";
import { useStore } from "../../lib/store.js";
import { Button } from "../../ui/Button.js";
import { Empty } from "../../ui/Empty.js";
import { FieldError } from "../../ui/Field.js";
import { LoadError } from "../../ui/LoadError.js";
import { usePaneHeading } from "../../ui/usePaneHeading.js";
import { Door } from "../accounts/Door.js";
import { session, takeWishToJoin } from "../accounts/session.js";
import { InviteCard, useInvite } from "./InviteCard.js";
import { loadSpaces, putSpace, useSpace } from "./spaces.js";

/** The page behind an invite link. Signed out it leads through the door, where "Sign in and join" is the consent. */
export function AcceptInvite({ code }) {
  const { preview, error, retry } = useInvite(code);
  const isIn = useStore(session, (state) => state.status === "in");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const known = useSpace(preview?.space.id); // only the spaces we are in are known here
  useEffect(() => {
    if (isIn) loadSpaces();
  }, [isIn]);
  const heading = usePaneHeading(preview ? `Join ${preview.space.name}` : "Invite");

  const join = async () => {
    setBusy(true);
    setProblem(null);
    try {
      putSpace(await api.post(`/invites/${encodeURIComponent(code)}/accept`));
      navigate(`/spaces/${preview.space.id}`, { replace: true });
    } catch (failure) {
      setBusy(false);
      setProblem(failure);
    }
  };
  const [wished] = useState(() => takeWishToJoin(code));
  const joinsByItself = Boolean(preview && isIn && wished);
  useEffect(() => {
    if (joinsByItself) join();
  }, [joinsByItself]);

  if (error) return html`<${Door}><${Refused} error=${error} retry=${retry} heading=${heading} /><//>`;
  if (!preview) return html`<${Door}><p class="sr" role="status">Looking up the invite</p><//>`;
  if (known && !busy) return html`<${Door}><${AlreadyIn} space=${known} heading=${heading} /><//>`;
  const link = encodeURIComponent(code);
  return html`
    <${Door}>
      <h1 class="title-3xl" tabindex="-1" ref=${heading}>Join ${preview.space.name}</h1>
      <${InviteCard} preview=${preview} note=${preview.role === "admin" ? "you join as organiser" : ""} />
      ${preview.space.description && html`<p class="ink-2">${preview.space.description}</p>`}
      ${problem && html`<${FieldError} text=${explain(problem)} role="alert" />`}
      ${isIn
        ? html`<${Button} kind="primary" wide busy=${busy && "Joining…"} onClick=${join}>Join ${preview.space.name}<//>`
        : html`
          <a class="btn btn-primary btn-wide" href=${`/sign-up?invite=${link}`}>Make an account and join</a>
          <a class="btn btn-line btn-wide" href=${`/sign-in?invite=${link}`}>Sign in and join</a>`}
    <//>`;
}

function AlreadyIn({ space, heading }) {
  return html`
    <${Empty} drawing="talk" heading="h1" headingRef=${heading} title=${`You are in ${space.name} already`}
      actions=${html`<a class="btn btn-primary" href=${`/spaces/${space.id}`}>Open ${space.name}</a>`}>
      This invite leads to a space that you belong to. Send it on to somebody who does not yet.
    <//>`;
}

function Refused({ error, retry, heading }) {
  if (error.status !== 404 && error.status !== 410) return html`<${LoadError} what="The invite" error=${error} retry=${retry} />`;
  return html`
    <${Empty} drawing="gate" heading="h1" headingRef=${heading} title="This invite does not open anything"
      actions=${html`<a class="btn btn-primary" href="/">Go to Home</a>`}>
      The link may be old, used up or taken back. Ask the person who sent it for a new one.
    <//>`;
}
