-- The fleet: who is there, who leads, how replication is tuned, and what operators did.
-- readable-by: 1
-- up
-- One row for each instance, written by its heartbeat and never recorded in the feed. `packed` is JSON: all that only the
-- fleet's view shows, so that a heartbeat touches one page.
CREATE TABLE instance (
  id TEXT PRIMARY KEY,
  boot TEXT NOT NULL,
  url TEXT NOT NULL,
  packed TEXT NOT NULL,
  seen_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who may do what must be done once. `number` grows with each change of holder and fences the writes of the one before.
CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  number INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A log: for each key the newest row that names this instance or all of them ('') counts. `value` is JSON; null means
-- what the instance's own settings say. `before` is what was in force at the instance where it was decided.
CREATE TABLE tuning (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  instance_id TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  before TEXT NOT NULL,
  actor_id INTEGER REFERENCES user (id),
  at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX tuning_by_key ON tuning (key, instance_id, id);

-- What operators did. An actor of null is somebody at the machine's own command line.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  actor_id INTEGER REFERENCES user (id),
  instance_id TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;
-- down
DROP TABLE audit;
DROP TABLE tuning;
DROP TABLE lease;
DROP TABLE instance;
