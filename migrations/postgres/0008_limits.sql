-- What a user and a key may use, where that is not as configured.
ALTER TABLE users ADD COLUMN limits jsonb NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN limits jsonb NOT NULL DEFAULT '{}';

-- Servers learn of it as of everything that is taken away.
CREATE TRIGGER authorisation_of_user_limits AFTER UPDATE OF limits ON users FOR EACH ROW
    WHEN (NEW.limits <> OLD.limits) EXECUTE FUNCTION authorisation_moves();
CREATE TRIGGER authorisation_of_key_limits AFTER UPDATE OF limits ON api_keys FOR EACH ROW
    WHEN (NEW.limits <> OLD.limits) EXECUTE FUNCTION authorisation_moves();
