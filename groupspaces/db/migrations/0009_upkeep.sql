-- Where the backups are and how their proofs went, and whether the deployment is being maintained.
-- readable-by: 1
-- up
-- `id` is part of the archive's name; `instance_id` tells whose disk it is on. `proof` is JSON, of the newest proof.
CREATE TABLE backup (
  id TEXT PRIMARY KEY,
  instance_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
  created_at_ms INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  file TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  is_encrypted INTEGER NOT NULL CHECK (is_encrypted IN (0, 1)),
  seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  schema_version INTEGER NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  proved_at_ms INTEGER,
  proof TEXT,
  offsite_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- One row while writes are refused. `holder` names the restore that asked for it; empty when people did.
CREATE TABLE maintenance (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  message TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  actor_id INTEGER,
  holder TEXT NOT NULL DEFAULT ''
) STRICT;
-- down
DROP TABLE maintenance;
DROP TABLE backup;
