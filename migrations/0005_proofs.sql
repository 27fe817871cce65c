-- The last commit of each of our collections that each source delivered, written in the transaction of the rows: where to go
-- back to when the source turns out to have become blind.
CREATE TABLE proofs (
    source      text NOT NULL,
    collection  text NOT NULL,
    kind        text NOT NULL,
    value       bigint NOT NULL,
    event_at    timestamptz,
    proven_at   timestamptz NOT NULL,
    PRIMARY KEY (source, collection)
);

-- How the sources do beside each other, since whoever follows them has started.
CREATE TABLE scores (
    source      text PRIMARY KEY,
    delivered   bigint NOT NULL,
    first       bigint NOT NULL,
    missed      bigint NOT NULL,
    late        bigint NOT NULL,
    late_max_ms bigint NOT NULL,
    connections bigint NOT NULL,
    rewinds     bigint NOT NULL,
    blind_since timestamptz,
    blind_to    text[] NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- A spare is not asked while nobody needs it, nor is a blind source for a while after it was let go.
ALTER TABLE sources DROP CONSTRAINT sources_state_check,
    ADD CONSTRAINT sources_state_check CHECK (state IN ('starting', 'resting', 'connected', 'waiting', 'refused'));
