-- Messages and who they mention.
-- readable-by: 1
-- up
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  author_id INTEGER NOT NULL REFERENCES user (id),
  content TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('text', 'announcement')),
  mentions_all INTEGER NOT NULL CHECK (mentions_all IN (0, 1)),
  created_at_ms INTEGER NOT NULL,
  edited_at_ms INTEGER,
  deleted_at_ms INTEGER,
  version INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX message_by_space ON message (space_id, id);

CREATE TABLE mention (
  message_id INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  PRIMARY KEY (message_id, user_id)
) STRICT, WITHOUT ROWID;
-- down
DROP TABLE mention;
DROP TABLE message;
