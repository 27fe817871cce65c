-- The newest commit that the raw firehose told of each repo whose owner we know: the next one says which commit it follows, and
-- if that is not this one, something was missed. `data` is the first eight bytes of the hash that is the root of its tree; null
-- where it was not told.
CREATE TABLE repo_chains (
    actor_id  bigint PRIMARY KEY,
    rev       bigint NOT NULL,
    data      bigint
) WITH (fillfactor = 80);
