-- What generations cost: a row for each user and each key to whom one is counted.
CREATE TABLE tokens_spent (
    -- Not only of conversations: no foreign key.
    generation_id       BLOB NOT NULL,
    -- A user or a key.
    spender_id          BLOB NOT NULL,
    -- Julian, in UTC.
    day                 INTEGER NOT NULL,
    prompt_tokens       INTEGER NOT NULL,
    completion_tokens   INTEGER NOT NULL,
    -- Ours, because the upstream gave no figures.
    estimated           INTEGER NOT NULL,
    PRIMARY KEY (generation_id, spender_id)
) STRICT;
CREATE INDEX tokens_spent_by_spender ON tokens_spent (spender_id, day);
CREATE INDEX tokens_spent_by_day ON tokens_spent (day);
