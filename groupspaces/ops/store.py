"""What `data/ops.db` holds: this instance's own history, which never replicates and may be lost.

Owns the tables, one version of the file after another; who reads and writes one is named beside it. A table added later is
a new entry at the end: entries that were released never change.
"""

from __future__ import annotations

FILE = "ops.db"

# `ops/jobs.py`. `runs` runs of a job one after the other, alike in their outcome, share a row when they would be too many.
_JOBS = """
CREATE TABLE job_run (
  id INTEGER PRIMARY KEY,
  job TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER NOT NULL,
  duration_ms REAL NOT NULL,
  outcome TEXT NOT NULL,
  detail TEXT NOT NULL,
  runs INTEGER NOT NULL
) STRICT;
CREATE INDEX job_run_of_job ON job_run (job, id);
CREATE INDEX job_run_by_time ON job_run (started_at_ms);
CREATE TABLE job_choice (
  job TEXT PRIMARY KEY,
  paused INTEGER NOT NULL,
  schedule TEXT
) STRICT, WITHOUT ROWID;
"""

# `ops/replication_history.py`. What happened in ten seconds; durations are in milliseconds, and null where there was none.
_REPLICATION = """
CREATE TABLE replication_sample (
  at_s INTEGER PRIMARY KEY,
  covered_s REAL NOT NULL,
  active_s REAL NOT NULL,
  lag_ms INTEGER NOT NULL,
  rounds INTEGER NOT NULL,
  scheduled INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  questions INTEGER NOT NULL,
  fetches INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  frames INTEGER NOT NULL,
  round_ms REAL,
  fetch_ms REAL,
  fetch_max_ms REAL,
  fetch_durations_ms TEXT NOT NULL,
  changes INTEGER NOT NULL,
  belled INTEGER NOT NULL,
  announced INTEGER NOT NULL
) STRICT;
CREATE INDEX replication_sample_with_fetches ON replication_sample (at_s) WHERE fetches > 0;
"""

SCHEMA = (_JOBS, _REPLICATION)
