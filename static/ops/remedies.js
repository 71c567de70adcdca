/** What to do about each condition: steps, each `{words, command?}`, and the one that waits for nobody first. */

const PROMOTE = "groupspaces replica promote --to /srv/primary";
const COPIES = "copies";
const SYNC = "sync";

const REMEDIES = {
  primary_unreachable: {
    steps: [
      { words: "Bring the primary back, or the network to it. Everything goes on by itself then." },
      { words: "Only if it is lost for good: make the copy of the instance that has come furthest the new primary.", command: PROMOTE },
    ],
  },
  primary_wiped: {
    steps: [
      { words: "If its data are still somewhere, on the old disk or in a backup: stop the primary, put them back, start it. Instances go on within seconds." },
      { words: "If not, stop it and make this copy the new one. The command asks the other instances who has come furthest, and says what would be lost.", command: PROMOTE },
      { words: "Then start that one at the old address.", command: "sqld --db-path /srv/primary" },
    ],
  },
  primary_foreign: {
    steps: [
      { words: "See which address is in force, correct TURSO_CONNECTION_URL and restart this instance.", command: "groupspaces config show" },
      { words: "If this instance shall join that other deployment, give it a data folder of its own: the setting data.dir." },
      { words: "If the primary was wiped and somebody set it up anew, this copy is what brings the data back.", command: PROMOTE },
    ],
  },
  primary_superseded: {
    steps: [
      { words: "Point this instance to the promoted primary (TURSO_CONNECTION_URL), restart it, and stop the old one for good.", command: "groupspaces config show" },
      { words: "If the old one shall take over all the same, what was saved since the promotion is given up: stop every instance, put its copy aside, start it.", command: "mv data/replica data/replica.aside" },
    ],
  },
  primary_split: {
    steps: [
      { words: "Choose the one that shall go on, point every instance to it (TURSO_CONNECTION_URL), and stop the other for good.", command: "groupspaces config show" },
      { words: "If it is not the one that this instance followed: with this instance stopped, put its copy aside. What was saved there since is only in it.", command: "mv data/replica data/replica.aside" },
    ],
  },
  primary_moving: {
    steps: [
      { words: "If a move into it was interrupted, repeat it where it began; it goes on where it stopped.", command: "groupspaces db push" },
      { words: "If its data were moved out and shall stay here after all, take the primary back.", command: "groupspaces db unmark --primary" },
    ],
  },
  replica_behind: { offers: SYNC, steps: [{ words: "Fetch now. If it stays behind, look at the network between this machine and the primary." }] },
  replica_rebuilding: { offers: COPIES, steps: [{ words: "It goes on by itself: people read the old copy until the new one is whole." }] },
  rebuild_blocked: { offers: COPIES, steps: [{ words: "Free that much on the disk of its data folder; it goes on by itself. An old copy that nobody needs can be given up." }] },
  replica_rescues: {
    offers: COPIES,
    steps: [
      { words: "See what it has beyond the copy that serves: it is an SQLite file, replica/N/replica.db in the instance's data folder." },
      { words: "If it is the better one, make it the primary; if not, give it up below." },
    ],
  },
  replica_differs: { offers: COPIES, steps: [{ words: "It is mended by itself: a new copy is fetched and compared. If it happens again, have the disk and the memory of this machine tested." }] },
  position_stuck: { offers: SYNC, steps: [{ words: "Fetch now. If the position still does not move, rebuild this copy." }] },
  replica_child_idle: { offers: SYNC, steps: [{ words: "Fetch now: the process that fetches is ended and begun anew if it brings nothing. If that does not help, restart this instance." }] },
  wal_grows: { steps: [{ words: "Somebody may hold an old state open, such as a backup or a shell on the file: end that. If it grows on, restart this instance before its disk is full.", command: "ls -l data/replica/*/" }] },
  clock_jumped: { steps: [{ words: "Have the time of this machine kept by NTP, and see that it runs.", command: "timedatectl status" }] },
};

/** `{steps, offers?}` for a kind of condition, null where none is known; `offers` is "sync" or "copies". */
export const remedyFor = (kind) => REMEDIES[kind] ?? null;
