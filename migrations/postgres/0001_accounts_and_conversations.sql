-- Text columns named `folded` hold another column's text with every character lower-cased by the program: what search compares, so that
-- it finds the same on both engines.

CREATE TABLE users (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name <> ''),
    operator    boolean NOT NULL,
    disabled    boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    revoked     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL
);

CREATE TABLE login_links (
    hash        bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX login_links_by_expiry ON login_links (expires_at);

CREATE TABLE login_sessions (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The API key that logged in, if it was one.
    key_id      uuid REFERENCES api_keys ON DELETE CASCADE,
    hash        bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    expires_at  timestamptz NOT NULL
);
CREATE INDEX login_sessions_by_expiry ON login_sessions (expires_at);

CREATE TABLE idempotency_keys (
    owner_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    key         text NOT NULL,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    receipt     jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE conversations (
    id          uuid PRIMARY KEY,
    owner_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    title       text NOT NULL,
    folded      text NOT NULL,
    model       text,
    system      text,
    pinned      boolean NOT NULL DEFAULT false,
    archived    boolean NOT NULL DEFAULT false,
    version     bigint NOT NULL DEFAULT 1,
    -- No foreign key: it would need an index of its own only to delete messages, and the head is always set beside its message.
    head_id     uuid,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX conversations_newest ON conversations (owner_id, updated_at DESC, id DESC);

CREATE TABLE messages (
    id              uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    -- The order of creation, from 1.
    position        bigint NOT NULL,
    parent_id       uuid REFERENCES messages,
    role            text NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
    tool_calls      jsonb,
    model           text,
    status          text NOT NULL
        CHECK (status IN ('streaming', 'completed', 'stopped', 'failed', 'interrupted', 'truncated')),
    finish_reason   text,
    usage           jsonb,
    timings         jsonb,
    problem         jsonb,
    -- The latest that wrote it.
    generation_id   uuid,
    created_at      timestamptz NOT NULL,
    -- The long ones last: SQLite walks through what stands before a column.
    folded          text NOT NULL,
    content         text NOT NULL,
    reasoning       text,
    UNIQUE (conversation_id, position),
    CHECK (status <> 'streaming' OR generation_id IS NOT NULL)
);
CREATE INDEX messages_by_parent ON messages (parent_id);

CREATE TABLE generations (
    id              uuid PRIMARY KEY,
    owner_id        uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    message_id      uuid NOT NULL REFERENCES messages ON DELETE CASCADE,
    node_id         uuid NOT NULL,
    status          text NOT NULL
        CHECK (status IN ('running', 'completed', 'stopped', 'failed', 'interrupted', 'truncated')),
    last_seq        bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    -- Characters of the message that were there before.
    base            bigint NOT NULL DEFAULT 0 CHECK (base >= 0),
    model           text,
    finish_reason   text,
    usage           jsonb,
    timings         jsonb,
    problem         jsonb,
    created_at      timestamptz NOT NULL
);
CREATE INDEX generations_by_conversation ON generations (conversation_id);
CREATE INDEX generations_by_message ON generations (message_id);
CREATE INDEX generations_running_by_node ON generations (node_id) WHERE status = 'running';
-- Two must never write one message.
CREATE UNIQUE INDEX generations_running_once ON generations (message_id) WHERE status = 'running';
