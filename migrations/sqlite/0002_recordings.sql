-- What outlives a process and an outage: events while they are written, and the leases of the nodes that write them.

CREATE TABLE nodes (
    id          BLOB PRIMARY KEY,
    -- Rises whenever the lease changes hands; what is written with an older one is ignored.
    epoch       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;
INSERT INTO nodes (id, epoch, lease_until)
    SELECT DISTINCT node_id, 0, 0 FROM generations WHERE status = 'running';

-- The node's when it began.
ALTER TABLE generations ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- The generation whose answer it carries on.
ALTER TABLE generations ADD COLUMN continues BLOB;
-- Ended by somebody who did not run it: its own end, when it comes after all, is the truth.
ALTER TABLE generations ADD COLUMN recovered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN ended_at INTEGER;
-- Its events are there one by one.
ALTER TABLE generations ADD COLUMN events_kept INTEGER NOT NULL DEFAULT 0;
CREATE INDEX generations_with_events ON generations (ended_at) WHERE events_kept;

CREATE TABLE generation_events (
    generation_id BLOB NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    first_seq     INTEGER NOT NULL CHECK (first_seq > 0),
    last_seq      INTEGER NOT NULL CHECK (last_seq >= first_seq),
    -- A line an event: its name, a space, its JSON.
    frames        TEXT NOT NULL,
    PRIMARY KEY (generation_id, first_seq)
) STRICT;
