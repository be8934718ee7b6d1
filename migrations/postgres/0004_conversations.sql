-- What people set for a conversation, and how they take its deletion back.

ALTER TABLE conversations
    -- How its answers are sampled where a question does not say.
    ADD COLUMN sampling jsonb NOT NULL DEFAULT '{}',
    -- Hidden from its owner since then, by the database's clock.
    ADD COLUMN deleted_at timestamptz,
    -- Nobody gets it back any more; its rows are on their way out.
    ADD COLUMN purged boolean NOT NULL DEFAULT false;
CREATE INDEX conversations_deleted ON conversations (deleted_at) WHERE deleted_at IS NOT NULL;
