-- What people set for a conversation, and how they take its deletion back.

-- How its answers are sampled where a question does not say.
ALTER TABLE conversations ADD COLUMN sampling TEXT NOT NULL DEFAULT '{}';
-- Hidden from its owner since then, by the database's clock.
ALTER TABLE conversations ADD COLUMN deleted_at INTEGER;
-- Nobody gets it back any more; its rows are on their way out.
ALTER TABLE conversations ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
CREATE INDEX conversations_deleted ON conversations (deleted_at) WHERE deleted_at IS NOT NULL;
