-- Spaces, who belongs to them, and the links that let people in.
-- readable-by: 1
-- up
CREATE TABLE space (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  slug TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  theme_color TEXT,
  wallpaper TEXT,
  emoji TEXT,
  visibility TEXT NOT NULL CHECK (visibility IN ('private', 'public')),
  created_by INTEGER NOT NULL REFERENCES user (id),
  created_at_ms INTEGER NOT NULL,
  deleted_at_ms INTEGER,
  member_count INTEGER NOT NULL DEFAULT 0,
  version INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX space_to_discover ON space (id) WHERE visibility = 'public' AND deleted_at_ms IS NULL;

CREATE TABLE member (
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
  joined_at_ms INTEGER NOT NULL,
  last_read_message_id INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (space_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX member_by_user ON member (user_id, space_id);

-- "Is there another owner?" must not walk through all members.
CREATE INDEX member_owner ON member (space_id, user_id) WHERE role = 'owner';

-- Counted here and nowhere else: a list of spaces must not walk through all their members.
CREATE TRIGGER member_came AFTER INSERT ON member BEGIN
  UPDATE space SET member_count = member_count + 1 WHERE id = new.space_id;
END;

CREATE TRIGGER member_went AFTER DELETE ON member BEGIN
  UPDATE space SET member_count = member_count - 1 WHERE id = old.space_id;
END;

CREATE TABLE invite (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  code TEXT NOT NULL UNIQUE,
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
  created_by INTEGER NOT NULL REFERENCES user (id),
  email TEXT,
  uses INTEGER NOT NULL DEFAULT 0,
  max_uses INTEGER CHECK (max_uses IS NULL OR max_uses > 0),
  expires_at_ms INTEGER,
  created_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER
) STRICT;

CREATE INDEX invite_by_space ON invite (space_id, id);
-- down
DROP TABLE invite;
DROP TABLE member;
DROP TABLE space;
