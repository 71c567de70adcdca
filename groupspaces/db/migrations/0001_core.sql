-- The change feed and what every write needs. Readable by an app of any schema from 1 on.
-- readable-by: 1
-- up
CREATE TABLE change (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  token TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  actor_id INTEGER,
  space_id INTEGER,
  audience TEXT NOT NULL,
  kind TEXT NOT NULL,
  subject_id INTEGER,
  data TEXT NOT NULL
) STRICT;

CREATE TABLE lineage (
  epoch INTEGER PRIMARY KEY,
  ended_seq INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE deployment (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  user_id INTEGER NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

INSERT INTO lineage (epoch, ended_seq, first_seq, at_ms)
VALUES (1, 0, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER));

INSERT INTO change (token, at_ms, audience, kind, data)
VALUES (lower(hex(randomblob(8))), CAST(unixepoch('subsec') * 1000 AS INTEGER), 'nobody', 'lineage.started', '{}');
-- down
DROP TABLE idempotency;
DROP TABLE deployment;
DROP TABLE lineage;
DROP TABLE change;
