-- The repos that we know of, and when each was last read from its PDS. One row per DID: a repo that is to be read is `pending` and
-- due, one that could not be read is `failed` and due again later, one that was read is `done` until the audit comes by.
CREATE TABLE repos (
    did           text COLLATE "C" PRIMARY KEY,
    state         text NOT NULL CHECK (state IN ('pending', 'failed', 'done')),
    -- Why it is to be read, or was: the word of `Cause`.
    cause         text NOT NULL,
    requested_at  timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    -- Whoever reads it has it until then; a reader that died lets go of it by itself.
    taken_until   timestamptz,
    tries         integer NOT NULL DEFAULT 0,
    error         text,
    -- The last complete read: the repo's rev, when it began, from which host, and the differences that it found.
    read_rev      bigint,
    read_at       timestamptz,
    host          text,
    missing       integer NOT NULL DEFAULT 0,
    extra         integer NOT NULL DEFAULT 0,
    differing     integer NOT NULL DEFAULT 0
);
CREATE INDEX repos_due ON repos (due_at) WHERE state <> 'done';
CREATE INDEX repos_read ON repos (read_at) WHERE state = 'done';

-- Differences between the index and the repos, by what they were and why the repo was read: zero in a healthy system, the first
-- read of a repo aside.
CREATE TABLE drift (
    cause    text NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('missing', 'extra', 'differing')),
    host     text NOT NULL,
    count    bigint NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (cause, kind, host)
);

-- A record that is refused again and again is told by its actor.
CREATE INDEX rejects_did ON rejects (did) WHERE did IS NOT NULL;

-- When a repair took the gap up: what has been read from its PDS since then is mended.
ALTER TABLE gaps ADD COLUMN repair_at timestamptz;

-- When a relay last told of all repos with a record of ours, to the end.
CREATE TABLE discoveries (
    relay        text PRIMARY KEY,
    finished_at  timestamptz NOT NULL
);
