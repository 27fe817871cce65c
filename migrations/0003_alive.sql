-- A sign of life: an indexer that has ended says nothing, and what it said last is then no longer so.
ALTER TABLE sources ADD COLUMN alive_at timestamptz;
