-- What finds texts without reading them all: for every owner a few segments, each an inverted index from grams (one to three neighbouring
-- characters) to documents, packed into pages by the program. A search compares what the index suggests with the text itself, so the
-- index may name too many, never too few: nothing has to be taken out of it. What was written since waits, and is compared as it is.

-- What an index calls a conversation: small, and close to those of its time. Not the rowid, which VACUUM may change.
ALTER TABLE conversations ADD COLUMN number INTEGER;
UPDATE conversations SET number = rowid;
CREATE UNIQUE INDEX conversations_by_number ON conversations (number);

-- AUTOINCREMENT: an id must not come again while somebody may still mean the row that had it.
CREATE TABLE search_waiting (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    owner_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    -- Of the message; 16777215 is the title.
    position    INTEGER NOT NULL,
    characters  INTEGER NOT NULL
) STRICT;
CREATE INDEX search_waiting_by_owner ON search_waiting (owner_id, id);

CREATE TABLE search_segments (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    owner_id    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Only live ones are searched. One that is building becomes live at the moment when those that it merges become dropped.
    state       TEXT NOT NULL CHECK (state IN ('building', 'live', 'dropped')),
    documents   INTEGER NOT NULL,
    -- A gram stands in page `gram * pages >> 32`.
    pages       INTEGER NOT NULL CHECK (pages BETWEEN 1 AND 1048576),
    bytes       INTEGER NOT NULL,
    touched_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX search_segments_by_owner ON search_segments (owner_id);

CREATE TABLE search_pages (
    segment_id  INTEGER NOT NULL REFERENCES search_segments (id) ON DELETE CASCADE,
    page        INTEGER NOT NULL,
    bytes       BLOB NOT NULL,
    PRIMARY KEY (segment_id, page)
) STRICT;

-- Which texts the documents of a segment are.
CREATE TABLE search_documents (
    segment_id  INTEGER NOT NULL REFERENCES search_segments (id) ON DELETE CASCADE,
    page        INTEGER NOT NULL,
    bytes       BLOB NOT NULL,
    PRIMARY KEY (segment_id, page)
) STRICT;

-- Triggers, so that no statement that writes a text can forget it.
CREATE TRIGGER search_new_conversation AFTER INSERT ON conversations BEGIN
    UPDATE conversations SET number = (SELECT COALESCE(MAX(number), 0) + 1 FROM conversations) WHERE id = NEW.id;
    INSERT INTO search_waiting (owner_id, number, position, characters)
        SELECT owner_id, number, 16777215, length(folded) FROM conversations WHERE id = NEW.id AND folded <> '';
END;
CREATE TRIGGER search_other_title AFTER UPDATE OF folded ON conversations
WHEN NEW.folded <> '' AND NEW.folded <> OLD.folded BEGIN
    INSERT INTO search_waiting (owner_id, number, position, characters)
        VALUES (NEW.owner_id, NEW.number, 16777215, length(NEW.folded));
END;
CREATE TRIGGER search_new_message AFTER INSERT ON messages WHEN NEW.folded <> '' BEGIN
    INSERT INTO search_waiting (owner_id, number, position, characters)
        SELECT owner_id, number, NEW.position, length(NEW.folded) FROM conversations WHERE id = NEW.conversation_id;
END;
CREATE TRIGGER search_other_message AFTER UPDATE OF folded ON messages
WHEN NEW.folded <> '' AND NEW.folded <> OLD.folded BEGIN
    INSERT INTO search_waiting (owner_id, number, position, characters)
        SELECT owner_id, number, NEW.position, length(NEW.folded) FROM conversations WHERE id = NEW.conversation_id;
END;

INSERT INTO search_waiting (owner_id, number, position, characters)
    SELECT owner_id, number, 16777215, length(folded) FROM conversations WHERE folded <> ''
    UNION ALL
    SELECT c.owner_id, c.number, m.position, length(m.folded)
    FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.folded <> '';
