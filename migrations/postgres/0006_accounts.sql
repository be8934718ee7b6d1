-- What owners see of their keys and logins, when these end, and how servers learn that one was taken away.

ALTER TABLE api_keys
    -- By which its owner knows a key again; empty: it was made before this was kept.
    ADD COLUMN prefix text NOT NULL DEFAULT '',
    ADD COLUMN expires_at timestamptz,
    -- To the minute.
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN revoked_at timestamptz;
UPDATE api_keys SET revoked_at = date_trunc('milliseconds', clock_timestamp()) WHERE revoked;
ALTER TABLE api_keys DROP COLUMN revoked;
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at);

ALTER TABLE login_sessions
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    -- To the minute; a login that is not seen for long enough ends.
    ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    ADD COLUMN user_agent text,
    ADD COLUMN address text;
ALTER TABLE login_sessions ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN last_seen_at DROP DEFAULT;
CREATE INDEX login_sessions_by_user ON login_sessions (user_id, created_at);

-- Rises with everything that takes something away: servers look at it twice a second, and believe what they know until it moves.
CREATE TABLE authorisation (
    id      bigint PRIMARY KEY CHECK (id = 1),
    epoch   bigint NOT NULL
);
INSERT INTO authorisation VALUES (1, 1);

-- Triggers, so that no statement can forget it.
CREATE FUNCTION authorisation_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE authorisation SET epoch = epoch + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER authorisation_of_user AFTER UPDATE OF operator, disabled ON users FOR EACH ROW
    WHEN (NEW.operator <> OLD.operator OR NEW.disabled <> OLD.disabled) EXECUTE FUNCTION authorisation_moves();
CREATE TRIGGER authorisation_of_deleted_user AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION authorisation_moves();
CREATE TRIGGER authorisation_of_key AFTER UPDATE OF revoked_at, expires_at ON api_keys FOR EACH ROW
    WHEN (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at OR NEW.expires_at IS DISTINCT FROM OLD.expires_at)
    EXECUTE FUNCTION authorisation_moves();
CREATE TRIGGER authorisation_of_deleted_key AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION authorisation_moves();
CREATE TRIGGER authorisation_of_login AFTER UPDATE OF expires_at ON login_sessions FOR EACH ROW
    WHEN (NEW.expires_at <> OLD.expires_at) EXECUTE FUNCTION authorisation_moves();
-- Those that have expired take nothing away.
CREATE TRIGGER authorisation_of_ended_login AFTER DELETE ON login_sessions FOR EACH ROW
    WHEN (OLD.expires_at > clock_timestamp()) EXECUTE FUNCTION authorisation_moves();
