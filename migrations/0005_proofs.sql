-- The last commit of each of our collections that each source delivered, written in the transaction of the rows: where to go
-- back to when the source turns out to be incomplete.
CREATE TABLE proofs (
    source      text NOT NULL,
    collection  text NOT NULL,
    kind        text NOT NULL,
    value       bigint NOT NULL,
    event_at    timestamptz,
    proven_at   timestamptz NOT NULL,
    PRIMARY KEY (source, collection)
);

-- How the sources compare with each other, since the index that follows them has started.
CREATE TABLE scores (
    source      text PRIMARY KEY,
    delivered   bigint NOT NULL,
    missed      bigint NOT NULL,
    late        bigint NOT NULL,
    incomplete_since timestamptz,
    incomplete_in    text[] NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- A standby source is not followed until it is needed, nor is an incomplete one while it is paused.
ALTER TABLE sources DROP CONSTRAINT sources_state_check,
    ADD CONSTRAINT sources_state_check CHECK (state IN ('starting', 'paused', 'connected', 'waiting', 'refused'));
