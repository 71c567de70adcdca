/** The audit record in sentences: what each kind of entry says, and how entries are looked for. */

import { list } from "../lib/words.js";

const ROLES = { owner: "an owner", admin: "an organiser", member: "a member" };
const METHODS = { password: "by password", passkey: "by passkey", link: "by a link", recovery: "with a recovery code" };
const PURPOSES = { reset: "a link to set a password", enter: "a link to sign in", verify: "a link to confirm an address" };

const isSelf = ({ actor, subject }) => actor !== null && subject === `user:${actor.id}`;
const them = (entry) => ({ name: entry.subject_name ?? entry.subject });
const space = (entry) => ({ name: entry.space_name ?? (entry.space_id === null ? "(gone)" : `#${entry.space_id}`) });
const said = (text) => () => [text];
/** What somebody does to themselves or to somebody else. */
const toThem = (own, other, after = "") => (entry) => (isSelf(entry) ? [own] : [other, them(entry), after]);

const ofBackup = (subject) => subject.replace("backup:", "");

/** By group: action, its name in the filter, and its sentence after the actor: texts, and `{name}` for who or what it is about. */
const GROUPS = {
  "Signing in": {
    "session.created": ["Signed in", ({ data }) => [`signed in ${METHODS[data.method] ?? (data.method ? `by ${data.method}` : "")}`]],
    "session.ended": ["Signed out", (entry) => (entry.subject.startsWith("user:") ? toThem("signed out their other devices", "signed out all devices of ")(entry) : ["signed out a device"])],
    "password.changed": ["Password changed", said("changed their password")],
    "password.reset": ["Password set by a link", said("set a new password by a link")],
    "recovery_code.used": ["Recovery code used", said("used a recovery code")],
    "link.made": ["Link made", (entry) => [`made ${PURPOSES[entry.data.purpose] ?? "a link"} for `, them(entry)]],
  },
  "Ways in": {
    "totp.enabled": ["Two-factor on", said("switched two-factor on")],
    "totp.disabled": ["Two-factor off", said("switched two-factor off")],
    "recovery_codes.renewed": ["Recovery codes renewed", said("made new recovery codes")],
    "passkey.added": ["Passkey added", said("added a passkey")],
    "passkey.removed": ["Passkey removed", said("removed a passkey")],
    "account.linked": ["Account linked", ({ data }) => [`linked an account at ${data.provider ?? "another place"}`]],
    "account.cleared": ["Earlier ways in removed", said("proved the address, by which earlier ways in ended")],
    "account.unlinked": ["Account unlinked", said("unlinked an account elsewhere")],
    "email.changed": ["E-mail changed", said("changed their e-mail address")],
    "email.verified": ["E-mail confirmed", toThem("confirmed their e-mail address", "marked the e-mail address of ", " as confirmed")],
    "token.created": ["Token made", ({ data }) => [`made an API token for ${list(data.scopes ?? [])}`]],
    "token.revoked": ["Token revoked", said("revoked an API token")],
  },
  People: {
    "account.created": ["Account made", toThem("made an account", "made an account for ")],
    "user.suspended": ["Suspended", (entry) => ["suspended ", them(entry)]],
    "user.restored": ["Restored", (entry) => ["restored ", them(entry)]],
    "user.operator_granted": ["Made operator", (entry) => ["made ", them(entry), " an operator"]],
    "user.operator_withdrawn": ["Operator withdrawn", (entry) => ["took the console from ", them(entry)]],
    "user.second_factor_reset": ["Second factor reset", (entry) => ["took the second factor off the account of ", them(entry)]],
    "user.exported": ["Data exported", said("took their data with them")],
    "user.deleted": ["Deleted", toThem("deleted their account", "deleted the account of ")],
  },
  Spaces: {
    "space.created": ["Space made", (entry) => ["made the space ", space(entry)]],
    "space.changed": ["Space changed", (entry) => ["changed the space ", space(entry)]],
    "space.restored": ["Space restored", (entry) => ["made ", space(entry), " of a space in a backup"]],
    "space.deleted": ["Space deleted", (entry) => ["deleted the space ", space(entry)]],
    "member.joined": ["Joined", (entry) => ["joined ", space(entry)]],
    "member.left": ["Left", (entry) => ["left ", space(entry)]],
    "member.removed": ["Removed", (entry) => ["removed ", them(entry), " from ", space(entry)]],
    "member.role_changed": ["Role changed", (entry) => ["made ", them(entry), ` ${ROLES[entry.data.role] ?? "something else"} of `, space(entry)]],
    "invite.created": ["Invite made", (entry) => ["made an invite to ", space(entry)]],
    "invite.withdrawn": ["Invite taken back", (entry) => ["took back an invite to ", space(entry)]],
  },
  Operations: {
    "replication.tune": ["Tuned", ({ subject }) => [`tuned ${subject}`]],
    "replica.rebuild_asked": ["Copy rebuilt", ({ subject }) => ["had the copy of the data rebuilt at ", { name: subject }]],
    "replica.old_forgotten": ["Old copy given up", ({ subject }) => ["gave up an old copy of the data at ", { name: subject }]],
    "backup.begun": ["Backup made", said("made a backup")],
    "backup.proof_begun": ["Backup proved", ({ subject }) => ["had a backup proved: ", { name: ofBackup(subject) }]],
    "backup.downloaded": ["Backup downloaded", ({ subject }) => ["downloaded the backup ", { name: ofBackup(subject) }]],
    "backup.fetched": ["Backup fetched", ({ subject }) => ["fetched the backup ", { name: ofBackup(subject) }]],
    "backup.restore_begun": ["Restore begun", ({ subject }) => ["began to go back to the backup ", { name: ofBackup(subject) }]],
    "backup.space_begun": ["Space taken from a backup", ({ subject }) => ["asked for a space of the backup ", { name: ofBackup(subject) }]],
    "backup.restored": ["Restored", ({ subject }) => ["went back to the backup ", { name: ofBackup(subject) }]],
    "backup.removed": ["Backup removed", ({ subject }) => ["removed the backup ", { name: ofBackup(subject) }]],
    "backup.pruned": ["Backups tidied", said("had backups removed that are needed no more")],
    "backup.adopted": ["Backups looked for", said("had archives recorded that were found")],
    "maintenance.began": ["Maintenance on", said("turned maintenance on, or changed its words")],
    "maintenance.ended": ["Maintenance off", said("turned maintenance off")],
    "instance.drained": ["Drained", ({ subject }) => ["drained ", { name: subject }]],
    "instance.undrained": ["Not drained", ({ subject }) => ["had traffic sent again to ", { name: subject }]],
    "job.run": ["Job run", ({ subject }) => ["ran the job ", { name: subject }]],
    "job.changed": ["Job changed", ({ subject, data }) => [data.paused === true ? "paused the job " : data.paused === false ? "resumed the job " : "changed the job ", { name: subject }]],
  },
};

const BY_ACTION = Object.assign({}, ...Object.values(GROUPS));

/** `[[group, [[action, label]]]]` for the filter. */
export const ACTION_GROUPS = Object.entries(GROUPS).map(([group, actions]) => [group, Object.entries(actions).map(([action, [label]]) => [action, label])]);

/** Who did it: a person, the command line, or somebody nobody knew at that moment. */
export function actorName({ actor, address }) {
  if (actor) return actor.name || `Person ${actor.id}`;
  return address ? "Somebody not signed in" : "The command line";
}

/** What they did, as texts and `{name}`s. Of an action we have no sentence for, its own words. */
export function deedOf(entry) {
  const [, deed] = BY_ACTION[entry.action] ?? [];
  const parts = deed ? deed(entry) : [`${entry.action} `, { name: entry.subject_name ?? entry.subject }];
  return parts.filter((part) => part !== "");
}

export const sentenceOf = (entry) => `${actorName(entry)} ${deedOf(entry).map((part) => part.name ?? part).join("")}`;
