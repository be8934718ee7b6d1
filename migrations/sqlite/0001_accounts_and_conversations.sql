-- Ids are the 16 bytes of a UUID, times are milliseconds since 1970 (as text they would not sort), JSON is text, booleans are 0 and 1.
--
-- Text columns named `folded` hold another column's text with every character lower-cased by the program: what search compares, so that
-- it finds the same on both engines.

CREATE TABLE users (
    id          BLOB PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (name <> ''),
    operator    INTEGER NOT NULL,
    disabled    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id          BLOB PRIMARY KEY,
    user_id     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    hash        BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    revoked     INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE login_links (
    hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
    user_id     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX login_links_by_expiry ON login_links (expires_at);

CREATE TABLE login_sessions (
    id          BLOB PRIMARY KEY,
    user_id     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The API key that logged in, if it was one.
    key_id      BLOB REFERENCES api_keys (id) ON DELETE CASCADE,
    hash        BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX login_sessions_by_expiry ON login_sessions (expires_at);

CREATE TABLE idempotency_keys (
    owner_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    receipt     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (owner_id, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE conversations (
    id          BLOB PRIMARY KEY,
    owner_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title       TEXT NOT NULL,
    folded      TEXT NOT NULL,
    model       TEXT,
    system      TEXT,
    pinned      INTEGER NOT NULL DEFAULT 0,
    archived    INTEGER NOT NULL DEFAULT 0,
    version     INTEGER NOT NULL DEFAULT 1,
    -- No foreign key: it would need an index of its own only to delete messages, and the head is always set beside its message.
    head_id     BLOB,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_newest ON conversations (owner_id, updated_at DESC, id DESC);

CREATE TABLE messages (
    id              BLOB PRIMARY KEY,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- The order of creation, from 1.
    position        INTEGER NOT NULL,
    parent_id       BLOB REFERENCES messages (id),
    role            TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
    tool_calls      TEXT,
    model           TEXT,
    status          TEXT NOT NULL
        CHECK (status IN ('streaming', 'completed', 'stopped', 'failed', 'interrupted', 'truncated')),
    finish_reason   TEXT,
    usage           TEXT,
    timings         TEXT,
    problem         TEXT,
    -- The latest that wrote it.
    generation_id   BLOB,
    created_at      INTEGER NOT NULL,
    -- The long ones last: SQLite walks through what stands before a column.
    folded          TEXT NOT NULL,
    content         TEXT NOT NULL,
    reasoning       TEXT,
    UNIQUE (conversation_id, position),
    CHECK (status <> 'streaming' OR generation_id IS NOT NULL)
) STRICT;
CREATE INDEX messages_by_parent ON messages (parent_id);

CREATE TABLE generations (
    id              BLOB PRIMARY KEY,
    owner_id        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    message_id      BLOB NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    node_id         BLOB NOT NULL,
    status          TEXT NOT NULL
        CHECK (status IN ('running', 'completed', 'stopped', 'failed', 'interrupted', 'truncated')),
    last_seq        INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    -- Characters of the message that were there before.
    base            INTEGER NOT NULL DEFAULT 0 CHECK (base >= 0),
    model           TEXT,
    finish_reason   TEXT,
    usage           TEXT,
    timings         TEXT,
    problem         TEXT,
    created_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX generations_by_conversation ON generations (conversation_id);
CREATE INDEX generations_by_message ON generations (message_id);
CREATE INDEX generations_running_by_node ON generations (node_id) WHERE status = 'running';
-- Two must never write one message.
CREATE UNIQUE INDEX generations_running_once ON generations (message_id) WHERE status = 'running';
