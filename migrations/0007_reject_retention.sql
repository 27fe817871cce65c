-- Rejects are kept for a time and up to a size; those that were let go, the oldest first, stay counted.
CREATE TABLE rejects_expired (
    reason   text PRIMARY KEY,
    count    bigint NOT NULL,
    last_at  timestamptz NOT NULL
);
