-- What generations cost: a row for each user and each key to whom one is counted.
CREATE TABLE tokens_spent (
    -- Not only of conversations: no foreign key.
    generation_id       uuid NOT NULL,
    -- A user or a key.
    spender_id          uuid NOT NULL,
    -- Julian, in UTC.
    day                 bigint NOT NULL,
    prompt_tokens       bigint NOT NULL,
    completion_tokens   bigint NOT NULL,
    -- Ours, because the upstream gave no figures.
    estimated           boolean NOT NULL,
    PRIMARY KEY (generation_id, spender_id)
);
CREATE INDEX tokens_spent_by_spender ON tokens_spent (spender_id, day);
CREATE INDEX tokens_spent_by_day ON tokens_spent (day);
