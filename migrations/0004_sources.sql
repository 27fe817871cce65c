-- The upstreams: where we are in each, what each delivers, which process follows them, and what may have been missed.

-- Where we are in each upstream. `kind` names the number space; a value of one is never sent where another is meant.
CREATE TABLE positions (
    source          text PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('jetstream_v1_us', 'jetstream_v2_seq', 'firehose_seq')),
    value           bigint NOT NULL,
    event_at        timestamptz,
    -- The last event of our collections.
    last_record_at  timestamptz,
    updated_at      timestamptz NOT NULL,
    -- Until then nothing more had come, although the upstream answered: this tells a quiet source from one that was away.
    quiet_until     timestamptz
);

-- What each source last reported of its connection, for `status`: written by the process that indexes, read by those that serve.
CREATE TABLE sources (
    source      text PRIMARY KEY,
    -- `paused`: a standby until it is needed, or an incomplete source for a while.
    state       text NOT NULL CHECK (state IN ('starting', 'paused', 'connected', 'waiting', 'refused')),
    reason      text,
    changed_at  timestamptz NOT NULL,
    -- Since when the index may lack something that the source has; null while it has everything.
    behind_since timestamptz,
    -- A heartbeat: the state of an indexer that has ended no longer holds.
    alive_at    timestamptz
);

-- The last commit of each of our collections that each source delivered, written in the transaction of the rows: where to go
-- back to when the source turns out to be incomplete.
CREATE TABLE last_delivered (
    source        text NOT NULL,
    collection    text NOT NULL,
    kind          text NOT NULL,
    value         bigint NOT NULL,
    event_at      timestamptz,
    delivered_at  timestamptz NOT NULL,
    PRIMARY KEY (source, collection)
);

-- How the sources compare with each other, since the index that follows them has started.
CREATE TABLE source_scores (
    source            text PRIMARY KEY,
    delivered         bigint NOT NULL,
    missed            bigint NOT NULL,
    late              bigint NOT NULL,
    incomplete_since  timestamptz,
    incomplete_in     text[] NOT NULL,
    updated_at        timestamptz NOT NULL
);

-- One leads, others stand by: of several indexers on one database only the holder of the lease writes what sources deliver.
--
-- The lease is one row, and `token` its fence. Taking the lease over draws another token. A transaction of the holder
-- shares the advisory lock (1886157170, token) until it ends, and checks behind that lock whether the token is still the lease's;
-- taking over needs the lock exclusively. So the lease changes hands between two transactions of the holder and never
-- inside one, and what begins later under the old token fails. The holder's connection that renews the lease shares
-- (1886157171, token) as long as it lives: when that lock is free the holder has died, and the lease need not expire first.

CREATE TABLE indexers (
    -- Drawn by each process when it starts.
    id          bigint PRIMARY KEY,
    host        text NOT NULL,
    process     integer NOT NULL,
    started_at  timestamptz NOT NULL,
    alive_at    timestamptz NOT NULL
);

CREATE TABLE lease (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    token       integer NOT NULL,
    -- The holder; null when the lease was released, or never taken.
    indexer_id  bigint,
    taken_at    timestamptz,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
INSERT INTO lease (token, expires_at) VALUES (0, '-infinity');

-- Ties a transaction to a token. Fails when the lease has another by now, which ends the transaction and releases its locks,
-- even if the process that began it is stuck. Checks nothing when there is no token.
CREATE FUNCTION hold_lease(held integer) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1886157170, held);
    IF NOT EXISTS (SELECT FROM lease WHERE token = held) THEN
        RAISE EXCEPTION 'the lease has been taken over' USING ERRCODE = 'PL001';
    END IF;
END $$;

-- What we may have missed: a stretch of one upstream, or (with `did`) a repo that diverged from its events. A gap is open until
-- a resync, the source itself or the operator closes it. The row of an open gap widens when the same thing happens again.
--
-- `from_*` is the last that we have, `to_*` the first that came after; null where that is not known (yet). `kind` names the
-- number space of the values; that of a repo is `rev`, and its `to_value` the head that the upstream named.
CREATE TABLE gaps (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source             text NOT NULL,
    reason             text NOT NULL,
    did                text COLLATE "C",
    kind               text,
    from_value         bigint,
    to_value           bigint,
    from_at            timestamptz,
    to_at              timestamptz,
    state              text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'repairing', 'closed')),
    detail             text NOT NULL,
    opened_at          timestamptz NOT NULL,
    -- When a repair took the gap up: what has been read from its PDS since then is repaired.
    repair_started_at  timestamptz,
    closed_at          timestamptz,
    closed_by          text CHECK (closed_by IN ('operator', 'repair', 'source')),
    note               text,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL AND closed_by IS NOT NULL))
);
-- One that is not closed for each upstream and reason, and one for each repo, whichever source reported it.
CREATE UNIQUE INDEX gaps_open_source ON gaps (source, reason) WHERE did IS NULL AND state <> 'closed';
CREATE UNIQUE INDEX gaps_open_repo ON gaps (did, reason) WHERE did IS NOT NULL AND state <> 'closed';
CREATE INDEX gaps_open ON gaps (opened_at) WHERE state <> 'closed';
-- Which to delete.
CREATE INDEX gaps_closed ON gaps (closed_at) WHERE state = 'closed';
-- Whether a repo's head was reported before.
CREATE INDEX gaps_repo ON gaps (did, reason, to_value) WHERE did IS NOT NULL;
