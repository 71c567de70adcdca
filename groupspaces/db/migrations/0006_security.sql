-- Second factors, passkeys, tokens, linked accounts, pictures of people, and an audit record that can be verified.
-- An older app would let people in without the second factor they asked for: it refuses to serve this schema.
-- readable-by: 6
-- up
-- `credentials_version` grows with whatever decides who gets in: password, address, second factor, suspension. Links that
-- were made before, and sign-ins that were decided before, name the old one and are refused.
ALTER TABLE user ADD COLUMN credentials_version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE user ADD COLUMN email_verified_at_ms INTEGER;
ALTER TABLE user ADD COLUMN password_changed_at_ms INTEGER;
ALTER TABLE user ADD COLUMN reset_asked_at_ms INTEGER;
ALTER TABLE user ADD COLUMN deleted_at_ms INTEGER;
ALTER TABLE user ADD COLUMN avatar TEXT;

-- Operators list them, and the last one must not go.
CREATE INDEX user_operator ON user (id) WHERE is_operator = 1;

ALTER TABLE session ADD COLUMN method TEXT NOT NULL DEFAULT 'password';
ALTER TABLE session ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN seen_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN confirmed_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN ceremony BLOB;

-- What opened a session (a passkey's challenge, a link) opens no second one.
CREATE UNIQUE INDEX session_ceremony ON session (ceremony) WHERE ceremony IS NOT NULL;

UPDATE session SET seen_at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER), confirmed_at_ms = created_at_ms;

-- The secret is encrypted with a key derived from auth.secret. It counts once `confirmed_at_ms` is set.
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

-- Accounts elsewhere by which somebody signs in here.
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

-- `scopes` is a JSON list of words; `hint` is how the token ends, for people to tell them apart.
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

-- Pictures of people, 256 by 256, a few kB each: so small that they may travel with the rest.
CREATE TABLE avatar (
  user_id INTEGER PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  media_type TEXT NOT NULL,
  data BLOB NOT NULL
) STRICT;

ALTER TABLE audit ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN space_id INTEGER;

CREATE INDEX audit_by_actor ON audit (actor_id, id);
CREATE INDEX audit_by_action ON audit (action, id);

-- Each seal covers the entries after the last one's up to `last_id`; `digest` is SHA-256 over the digest before and them,
-- `signature` an HMAC over the digest with a key derived from auth.secret.
CREATE TABLE audit_seal (
  last_id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  digest BLOB NOT NULL,
  signature BLOB NOT NULL
) STRICT;
-- down
DROP TABLE audit_seal;
DROP INDEX audit_by_action;
DROP INDEX audit_by_actor;
ALTER TABLE audit DROP COLUMN space_id;
ALTER TABLE audit DROP COLUMN address;
DROP TABLE avatar;
DROP TABLE api_token;
DROP TABLE linked_account;
DROP TABLE passkey;
DROP TABLE recovery_code;
DROP TABLE totp;
DROP INDEX session_ceremony;
ALTER TABLE session DROP COLUMN ceremony;
ALTER TABLE session DROP COLUMN confirmed_at_ms;
ALTER TABLE session DROP COLUMN seen_at_ms;
ALTER TABLE session DROP COLUMN address;
ALTER TABLE session DROP COLUMN method;
DROP INDEX user_operator;
ALTER TABLE user DROP COLUMN avatar;
ALTER TABLE user DROP COLUMN deleted_at_ms;
ALTER TABLE user DROP COLUMN reset_asked_at_ms;
ALTER TABLE user DROP COLUMN password_changed_at_ms;
ALTER TABLE user DROP COLUMN email_verified_at_ms;
ALTER TABLE user DROP COLUMN credentials_version;
