-- What owners see of their keys and logins, when these end, and how servers learn that one was taken away.

-- By which its owner knows a key again; empty: it was made before this was kept.
ALTER TABLE api_keys ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
-- To the minute.
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_keys ADD COLUMN revoked_at INTEGER;
UPDATE api_keys SET revoked_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE revoked;
ALTER TABLE api_keys DROP COLUMN revoked;
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at);

ALTER TABLE login_sessions ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
-- To the minute; a login that is not seen for long enough ends.
ALTER TABLE login_sessions ADD COLUMN last_seen_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE login_sessions ADD COLUMN user_agent TEXT;
ALTER TABLE login_sessions ADD COLUMN address TEXT;
UPDATE login_sessions SET created_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    last_seen_at = CAST(unixepoch('subsec') * 1000 AS INTEGER);
CREATE INDEX login_sessions_by_user ON login_sessions (user_id, created_at);

-- Rises with everything that takes something away: servers look at it twice a second, and believe what they know until it moves.
CREATE TABLE authorisation (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    epoch   INTEGER NOT NULL
) STRICT;
INSERT INTO authorisation VALUES (1, 1);

-- Triggers, so that no statement can forget it.
CREATE TRIGGER authorisation_of_user AFTER UPDATE OF operator, disabled ON users
    WHEN NEW.operator <> OLD.operator OR NEW.disabled <> OLD.disabled
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
CREATE TRIGGER authorisation_of_deleted_user AFTER DELETE ON users
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
CREATE TRIGGER authorisation_of_key AFTER UPDATE OF revoked_at, expires_at ON api_keys
    WHEN NEW.revoked_at IS NOT OLD.revoked_at OR NEW.expires_at IS NOT OLD.expires_at
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
CREATE TRIGGER authorisation_of_deleted_key AFTER DELETE ON api_keys
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
CREATE TRIGGER authorisation_of_login AFTER UPDATE OF expires_at ON login_sessions
    WHEN NEW.expires_at <> OLD.expires_at
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
-- Those that have expired take nothing away.
CREATE TRIGGER authorisation_of_ended_login AFTER DELETE ON login_sessions
    WHEN OLD.expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER)
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
