-- Usernames somebody had before: they stay theirs, so that older messages go on naming them and nobody takes their place.
-- readable-by: 6
-- up
CREATE TABLE former_username (
  username TEXT PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX former_username_by_user ON former_username (user_id, username);
-- down
DROP TABLE former_username;
