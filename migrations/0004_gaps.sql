-- What we may have missed: a stretch of one upstream, or (with `did`) a repo that diverged from what its events told. A gap is
-- open until a repair, a proof or the operator closes it. The row of an open gap grows when the same thing happens again.
--
-- `from_*` is the last that we have, `to_*` the first that came after; null where that is not known (yet). `kind` names the
-- number space of the values; that of a repo is `rev`, and its `to_value` the head that the upstream told of.
CREATE TABLE gaps (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    reason      text NOT NULL,
    did         text COLLATE "C",
    kind        text,
    from_value  bigint,
    to_value    bigint,
    from_at     timestamptz,
    to_at       timestamptz,
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'repairing', 'closed')),
    detail      text NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    closed_by   text CHECK (closed_by IN ('operator', 'repair', 'proof')),
    note        text,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL AND closed_by IS NOT NULL))
);
-- One that is not closed for each upstream and reason, and one for each repo, whoever told of it.
CREATE UNIQUE INDEX gaps_open_source ON gaps (source, reason) WHERE did IS NULL AND state <> 'closed';
CREATE UNIQUE INDEX gaps_open_repo ON gaps (did, reason) WHERE did IS NOT NULL AND state <> 'closed';
-- Whether a repo's head has been told of before.
CREATE INDEX gaps_repo ON gaps (did, reason, to_value) WHERE did IS NOT NULL;

-- Until then nothing more had come, although the upstream answered: a quiet source is told from one that was away.
ALTER TABLE positions ADD COLUMN quiet_until timestamptz;
