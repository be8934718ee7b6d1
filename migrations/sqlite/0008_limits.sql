-- What a user and a key may use, where that is not as configured.
ALTER TABLE users ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- Servers learn of it as of everything that is taken away.
CREATE TRIGGER authorisation_of_user_limits AFTER UPDATE OF limits ON users WHEN NEW.limits <> OLD.limits
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
CREATE TRIGGER authorisation_of_key_limits AFTER UPDATE OF limits ON api_keys WHEN NEW.limits <> OLD.limits
BEGIN UPDATE authorisation SET epoch = epoch + 1; END;
