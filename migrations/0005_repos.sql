-- The repos: which are to be read from their PDSes, and what reading them found.

-- The repos that we know of, and when each was last read from its PDS. One row per DID: a repo that is to be read is `pending` and
-- due, one that could not be read is `failed` and due again later, one that was read is `done` until the audit comes by.
CREATE TABLE repos (
    did           text COLLATE "C" PRIMARY KEY,
    state         text NOT NULL CHECK (state IN ('pending', 'failed', 'done')),
    -- Why it is to be read, or was: the word of `ResyncCause`.
    cause         text NOT NULL,
    requested_at  timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    -- A reader has it until then; that of a reader that died runs out.
    leased_until  timestamptz,
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

-- The newest commit of each repo of a known actor that the raw firehose delivered: the next one names the commit that it follows,
-- and if that is not this one, something was missed. `data` is the first eight bytes of the hash that is the root of its tree; null
-- where the firehose did not say.
CREATE TABLE commit_chains (
    actor_id  bigint PRIMARY KEY,
    rev       bigint NOT NULL,
    data      bigint
) WITH (fillfactor = 80);

-- Drift: differences between the index and the repos, by kind and by why the repo was read. Zero in a healthy system, the first
-- read of a repo aside.
CREATE TABLE drift (
    cause    text NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('missing', 'extra', 'differing')),
    host     text NOT NULL,
    count    bigint NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (cause, kind, host)
);

-- When a relay was last asked for all repos that have a record of ours, and answered to the end.
CREATE TABLE discoveries (
    relay        text PRIMARY KEY,
    finished_at  timestamptz NOT NULL
);
