/** What an operator can do to an account with one yes: the words before it, the question with what follows, and the call. */

import { plural } from "../lib/words.js";
import { changeUser, resetSecondFactor, signOutEverywhere } from "./accounts.js";

/**
 * The acts that make sense for somebody, each `{title, words, verb, bad?, notNow?, ask: {title, body, verb, busyVerb, kind}, run, done}`.
 * `myId` is the operator's own: some things nobody does to themselves.
 */
export function actsOn(user, myId) {
  const isMe = user.id === myId;
  return [suspension(user, isMe), operating(user, isMe), user.sessions > 0 && signingOut(user), user.two_factor && secondFactor(user), !user.email_verified && confirming(user)].filter(Boolean);
}

function suspension(user, isMe) {
  if (user.suspended_at) {
    return {
      title: "Restore", words: "They can sign in again, by the ways they had.", verb: "Restore…",
      ask: { title: `Restore ${user.name}?`, body: "They can sign in again by the ways they had, on each device anew. Their spaces and what they wrote are as before.", verb: "Restore them", busyVerb: "Restoring…", kind: "primary" },
      run: () => changeUser(user.id, { suspended: false }), done: `${user.name} is restored`,
    };
  }
  return {
    title: "Suspend", words: "They are out everywhere and cannot come back in until you restore them.", verb: "Suspend…", bad: true, notNow: isMe && "You cannot suspend yourself. Another operator can.",
    ask: { title: `Suspend ${user.name}?`, body: "All their devices are signed out within seconds and their tokens stop. They cannot sign in. What they wrote stays, and you can restore them at any time.", verb: "Suspend them", busyVerb: "Suspending…", kind: "bad" },
    run: () => changeUser(user.id, { suspended: true }), done: `${user.name} is suspended`,
  };
}

function operating(user, isMe) {
  if (user.is_operator) {
    return {
      title: "Take the console away", words: "They stay a member and lose these pages.", verb: "Take it away…",
      ask: { title: `Take the console from ${isMe ? "yourself" : user.name}?`, body: isMe ? "You lose these pages at once. Another operator can give them back." : "They lose these pages at once, and what their tokens could do here. They stay a member.", verb: "Take it away", busyVerb: "Taking it away…", kind: "bad" },
      run: () => changeUser(user.id, { is_operator: false }), done: `${user.name} is no operator any more`,
    };
  }
  return {
    title: "Make an operator", words: "They see and change everything in this console.", verb: "Make operator…",
    ask: { title: `Make ${user.name} an operator?`, body: "They see and change everything in this console: people, their ways in, replication, jobs and the audit record. Spaces they are not in stay closed to them.", verb: "Make them an operator", busyVerb: "Making them an operator…", kind: "primary" },
    run: () => changeUser(user.id, { is_operator: true }), done: `${user.name} is an operator`,
  };
}

const signingOut = (user) => ({
  title: "Sign out everywhere", words: `${plural(user.sessions, "device is", "devices are")} signed in.`, verb: "Sign out…",
  ask: { title: `Sign ${user.name} out everywhere?`, body: `${plural(user.sessions, "device")} ${user.sessions === 1 ? "is" : "are"} signed out at once. Their API tokens end too. They can sign in again.`, verb: "Sign them out", busyVerb: "Signing out…", kind: "bad" },
  run: () => signOutEverywhere(user.id), done: `${user.name} is signed out everywhere`,
});

const secondFactor = (user) => ({
  title: "Reset the second factor", words: "For somebody who lost their phone and their recovery codes.", verb: "Reset…",
  ask: { title: `Reset the second factor of ${user.name}?`, body: "Their authenticator, recovery codes and passkeys go. From then on the password alone lets them in, so be sure that it is really them who asks.", verb: "Reset it", busyVerb: "Resetting…", kind: "bad" },
  run: () => resetSecondFactor(user.id), done: `${user.name} signs in by password alone now`,
});

const confirming = (user) => ({
  title: "Confirm the e-mail address", words: "When you know that it is theirs, and no mail reaches them.", verb: "Confirm…",
  ask: { title: `Is ${user.email} really theirs?`, body: `It counts as confirmed from then on: ${user.name} can link accounts by it and is written to at it.`, verb: "Yes, confirm it", busyVerb: "Confirming…", kind: "primary" },
  run: () => changeUser(user.id, { email_verified: true }), done: "The address is confirmed",
});
