-- Messages and who they mention.
-- readable-by: 1
-- up
-- The text comes last: whoever counts or filters messages then never reads the pages that a long text overflows to.
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  author_id INTEGER NOT NULL REFERENCES user (id),
  kind TEXT NOT NULL CHECK (kind IN ('text', 'announcement')),
  mentions_all INTEGER NOT NULL CHECK (mentions_all IN (0, 1)),
  created_at_ms INTEGER NOT NULL,
  edited_at_ms INTEGER,
  deleted_at_ms INTEGER,
  version INTEGER NOT NULL DEFAULT 1,
  content TEXT NOT NULL
) STRICT;

-- With all that counting what is unread looks at: it must not fetch hundreds of messages for each space of a list.
CREATE INDEX message_by_space ON message (space_id, id, author_id, deleted_at_ms);

-- Deleting a message clears its mentions, so that counting what mentions somebody needs no other table.
CREATE INDEX message_to_all ON message (space_id, id, author_id) WHERE mentions_all = 1;

CREATE TABLE mention (
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  message_id INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
  PRIMARY KEY (user_id, space_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX mention_by_message ON mention (message_id, user_id);
-- down
DROP TABLE mention;
DROP TABLE message;
