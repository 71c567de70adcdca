-- Made by `groupspaces migrate schema`; a test says when it is stale.

CREATE TABLE migration (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  readable_by INTEGER NOT NULL,
  applied_at_ms INTEGER NOT NULL
) STRICT;

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
, branch TEXT NOT NULL DEFAULT '') STRICT;

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

CREATE TABLE user (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  username TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  is_operator INTEGER NOT NULL CHECK (is_operator IN (0, 1)),
  avatar_emoji TEXT,
  bio TEXT NOT NULL DEFAULT '',
  locale TEXT,
  theme TEXT,
  suspended_at_ms INTEGER,
  created_at_ms INTEGER NOT NULL,
  version INTEGER NOT NULL DEFAULT 1
, credentials_version INTEGER NOT NULL DEFAULT 1, email_verified_at_ms INTEGER, password_changed_at_ms INTEGER, reset_asked_at_ms INTEGER, deleted_at_ms INTEGER, avatar TEXT) STRICT;

CREATE TABLE session (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  token_hash BLOB NOT NULL UNIQUE,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  user_agent TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
, method TEXT NOT NULL DEFAULT 'password', address TEXT NOT NULL DEFAULT '', seen_at_ms INTEGER NOT NULL DEFAULT 0, confirmed_at_ms INTEGER NOT NULL DEFAULT 0, ceremony BLOB) STRICT;

CREATE INDEX session_by_user ON session (user_id, id);

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

CREATE INDEX member_owner ON member (space_id, user_id) WHERE role = 'owner';

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

CREATE INDEX message_by_space ON message (space_id, id, author_id, deleted_at_ms);

CREATE INDEX message_to_all ON message (space_id, id, author_id) WHERE mentions_all = 1;

CREATE TABLE mention (
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  space_id INTEGER NOT NULL REFERENCES space (id) ON DELETE CASCADE,
  message_id INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
  PRIMARY KEY (user_id, space_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX mention_by_message ON mention (message_id, user_id);

CREATE TABLE instance (
  id TEXT PRIMARY KEY,
  boot TEXT NOT NULL,
  url TEXT NOT NULL,
  packed TEXT NOT NULL,
  seen_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  number INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  actor_id INTEGER REFERENCES user (id),
  instance_id TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  data TEXT NOT NULL
, address TEXT NOT NULL DEFAULT '', space_id INTEGER) STRICT;

CREATE INDEX user_operator ON user (id) WHERE is_operator = 1;

CREATE UNIQUE INDEX session_ceremony ON session (ceremony) WHERE ceremony IS NOT NULL;

CREATE TABLE totp (
  user_id INTEGER PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  secret BLOB NOT NULL,
  created_at_ms INTEGER NOT NULL,
  confirmed_at_ms INTEGER,
  last_step INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE recovery_code (
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  code_hash BLOB NOT NULL,
  used_at_ms INTEGER,
  PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE passkey (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  credential_id BLOB NOT NULL UNIQUE,
  public_key BLOB NOT NULL,
  sign_count INTEGER NOT NULL,
  name TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  used_at_ms INTEGER
) STRICT;

CREATE INDEX passkey_by_user ON passkey (user_id, id);

CREATE TABLE linked_account (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  provider TEXT NOT NULL,
  subject TEXT NOT NULL,
  email TEXT,
  created_at_ms INTEGER NOT NULL,
  used_at_ms INTEGER,
  UNIQUE (provider, subject)
) STRICT;

CREATE INDEX linked_account_by_user ON linked_account (user_id, id);

CREATE TABLE api_token (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  token_hash BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  hint TEXT NOT NULL,
  scopes TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  used_at_ms INTEGER
) STRICT;

CREATE INDEX api_token_by_user ON api_token (user_id, id);

CREATE TABLE avatar (
  user_id INTEGER PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  media_type TEXT NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE INDEX audit_by_actor ON audit (actor_id, id);

CREATE INDEX audit_by_action ON audit (action, id);

CREATE TABLE audit_seal (
  last_id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  digest BLOB NOT NULL,
  signature BLOB NOT NULL
) STRICT;

CREATE TABLE former_username (
  username TEXT PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX former_username_by_user ON former_username (user_id, username);

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

CREATE TABLE maintenance (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  message TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  actor_id INTEGER,
  holder TEXT NOT NULL DEFAULT ''
) STRICT;
