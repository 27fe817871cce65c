-- Who somebody is: what their DID document says, and whether their handle says the same. A copy of what PLC, did:web hosts and
-- handles' domains serve, with its age.
--
-- Also of DIDs that are no actors yet. `handle` is what the document claims; it is confirmed while `confirmed_at` is there, and
-- shown, as `actors.handle`, only then.
CREATE TABLE identities (
    did           text COLLATE "C" PRIMARY KEY,
    pds           text,
    signing_key   text,
    handle        text COLLATE "C",
    -- When the document was last read, and when its handle was last confirmed.
    fetched_at    timestamptz,
    confirmed_at  timestamptz,
    -- When an #identity event last said that something has changed.
    told_at       timestamptz,
    -- The last failure, while nothing came after it, and how many there were in a row.
    failure       text CHECK (failure IN ('not_found', 'tombstone', 'unsupported', 'document', 'host')),
    detail        text,
    failed_at     timestamptz,
    tries         integer NOT NULL DEFAULT 0,
    -- When it is to be looked at again.
    due_at        timestamptz NOT NULL
);
CREATE INDEX identities_due ON identities (due_at);
-- Those who can be asked about while the PLC directory is away.
CREATE INDEX identities_due_elsewhere ON identities (due_at) WHERE did NOT LIKE 'did:plc:%';
ALTER TABLE identities ALTER did SET STATISTICS 10, ALTER pds SET STATISTICS 10, ALTER signing_key SET STATISTICS 0,
    ALTER handle SET STATISTICS 0, ALTER detail SET STATISTICS 0;

-- Handles that #identity events claimed were shown so far. From here on a handle is shown when it is confirmed.
UPDATE actors SET handle = NULL WHERE handle IS NOT NULL;
ALTER TABLE actors DROP COLUMN handle_at;
