-- What was refused, once per path and rev (or per bytes, where no path could be read). `raw` is whole unless `raw_length`
-- says that it was cut.
CREATE TABLE rejects (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest      bytea NOT NULL UNIQUE,
    source      text NOT NULL,
    kind        text,
    position    bigint,
    reason      text NOT NULL,
    field       text,
    detail      text NOT NULL,
    did         text,
    collection  text,
    rkey        text,
    rev         bigint,
    cid         bytea,
    raw_format  text NOT NULL,
    raw         bytea NOT NULL,
    raw_length  bigint NOT NULL,
    at          timestamptz NOT NULL
);
CREATE INDEX rejects_reason ON rejects (reason, id);
-- The rejects of one actor, compared with what its repo holds.
CREATE INDEX rejects_did ON rejects (did) WHERE did IS NOT NULL;

-- Rejects are kept for a time and up to a size; those deleted, the oldest first, stay counted.
CREATE TABLE rejects_expired (
    reason   text PRIMARY KEY,
    count    bigint NOT NULL,
    last_at  timestamptz NOT NULL
);
