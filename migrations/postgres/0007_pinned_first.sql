-- Lists tell pinned conversations first.
CREATE INDEX conversations_listed ON conversations (owner_id, pinned DESC, updated_at DESC, id DESC);
