-- What outlives a process and an outage: events while they are written, and the leases of the nodes that write them.

CREATE TABLE nodes (
    id          uuid PRIMARY KEY,
    -- Rises whenever the lease changes hands; what is written with an older one is ignored.
    epoch       bigint NOT NULL,
    lease_until timestamptz NOT NULL
);
INSERT INTO nodes (id, epoch, lease_until)
    SELECT DISTINCT node_id, 0, timestamptz '1970-01-01 00:00:00Z' FROM generations WHERE status = 'running';

ALTER TABLE generations
    -- The node's when it began.
    ADD COLUMN epoch bigint NOT NULL DEFAULT 0,
    -- The generation whose answer it carries on.
    ADD COLUMN continues uuid,
    -- Ended by somebody who did not run it: its own end, when it comes after all, is the truth.
    ADD COLUMN recovered boolean NOT NULL DEFAULT false,
    ADD COLUMN ended_at timestamptz,
    -- Its events are there one by one.
    ADD COLUMN events_kept boolean NOT NULL DEFAULT false;
CREATE INDEX generations_with_events ON generations (ended_at) WHERE events_kept;

CREATE TABLE generation_events (
    generation_id uuid NOT NULL REFERENCES generations ON DELETE CASCADE,
    first_seq     bigint NOT NULL CHECK (first_seq > 0),
    last_seq      bigint NOT NULL CHECK (last_seq >= first_seq),
    -- A line an event: its name, a space, its JSON.
    frames        text NOT NULL,
    PRIMARY KEY (generation_id, first_seq)
);
