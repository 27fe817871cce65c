-- One works, others stand by: of several indexers on one database only the holder of the lease writes what sources bring.
--
-- The lease is one row, and `token` its fence. Whoever takes it over draws another token. A transaction of the holder
-- shares the advisory lock (1886157170, token) until it ends, and looks behind that lock whether the token is still the lease's;
-- whoever takes over needs the lock alone. So the lease changes hands between two transactions of the holder and never
-- inside one, and what begins later under the old token fails. The holder's connection that renews the lease shares
-- (1886157171, token) as long as it lives: when that lock is free the holder has died, and nobody waits for the lease to expire.

CREATE TABLE indexers (
    -- Drawn by each process when it starts.
    id          bigint PRIMARY KEY,
    host        text NOT NULL,
    process     integer NOT NULL,
    started_at  timestamptz NOT NULL,
    alive_at    timestamptz NOT NULL
);

CREATE TABLE lease (
    is_one      boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    token       integer NOT NULL,
    -- Who holds it; null when it was given back, or nobody ever had it.
    indexer_id  bigint,
    taken_at    timestamptz,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
INSERT INTO lease (token, expires_at) VALUES (0, '-infinity');

-- Ties a transaction to a token. Fails when the lease has another by now, which ends the transaction and gives back its locks,
-- even if whoever began it does not listen. Nothing is checked where there is no token.
CREATE FUNCTION hold_lease(held integer) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1886157170, held);
    IF NOT EXISTS (SELECT FROM lease WHERE token = held) THEN
        RAISE EXCEPTION 'the lease has been taken over' USING ERRCODE = 'PL001';
    END IF;
END $$;
