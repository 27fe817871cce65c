-- The index: actors, and a table for each kind of record. Everything here can be rebuilt from the repos.
--
-- Every table that stands for records keeps one row per path (actor, key) with the greatest rev seen there. A path whose
-- record is gone keeps its row with the record's columns null: that is the tombstone, and the same `rev` guards both.
-- Times are what the owner's clock or ours said; only `rev` orders.

CREATE TABLE actors (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    did         text COLLATE "C" NOT NULL UNIQUE,
    -- Confirmed: the DID document claims it, and the handle's domain names the DID.
    handle      text COLLATE "C",
    -- What the last #account event said: a hint from the host that sent it.
    active      boolean NOT NULL DEFAULT true,
    status      text,
    status_at   timestamptz,
    -- Orders what a host said at one time.
    status_seq  bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- The place among those who have written a record, or were given a token. Null of one who is only mentioned: anyone may mention
    -- anyone, so that nothing is asked of hosts for it.
    author_no   bigint
);
CREATE SEQUENCE author_numbers;
CREATE INDEX actors_author ON actors (author_no) WHERE author_no IS NOT NULL;
CREATE UNIQUE INDEX actors_handle ON actors (handle) WHERE handle IS NOT NULL;
ALTER TABLE actors ALTER did SET STATISTICS 10, ALTER created_at SET STATISTICS 0;

-- A track has its id from the first time its URI is mentioned. `title` is null until its record has come, and after it is gone.
CREATE TABLE tracks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uri           text COLLATE "C" NOT NULL UNIQUE,
    artist_id     bigint NOT NULL,
    rev           bigint,
    sort_at       timestamptz,
    created_at    timestamptz,
    indexed_at    timestamptz,
    duration      bigint,
    cid           bytea,
    title         text,
    artist        text,
    file_type     text,
    album         text,
    description   text,
    audio_url     text,
    audio_cid     text,
    image_url     text,
    features      text[] NOT NULL DEFAULT '{}',
    labels        text[] NOT NULL DEFAULT '{}',
    support_gate  jsonb
);
ALTER TABLE tracks ALTER uri SET STATISTICS 10, ALTER cid SET STATISTICS 0, ALTER artist SET STATISTICS 0,
    ALTER file_type SET STATISTICS 0, ALTER album SET STATISTICS 0, ALTER description SET STATISTICS 0,
    ALTER audio_url SET STATISTICS 0, ALTER audio_cid SET STATISTICS 0, ALTER image_url SET STATISTICS 0,
    ALTER features SET STATISTICS 0, ALTER labels SET STATISTICS 0, ALTER support_gate SET STATISTICS 0;
CREATE INDEX tracks_of_artist ON tracks (artist_id);

-- The CIDs that likes name as the version they liked; many likes name the same one.
CREATE TABLE subject_cids (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cid  bytea NOT NULL UNIQUE
);
ALTER TABLE subject_cids ALTER cid SET STATISTICS 10;

-- `subject_id` null: a tombstone. `cid` is the first eight bytes of the record's SHA-256,
-- enough to tell one version of an actor's own record from the next.
CREATE TABLE likes (
    actor_id        bigint NOT NULL,
    rkey            bigint NOT NULL,
    rev             bigint NOT NULL,
    indexed_at      timestamptz NOT NULL,
    subject_id      bigint,
    subject_cid_id  bigint,
    sort_at         timestamptz,
    created_at      timestamptz,
    cid             bigint,
    PRIMARY KEY (actor_id, rkey)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02
);
-- Answers "does A like T" alone, and with which record: of several the one with the greatest key stands for all.
CREATE INDEX likes_actor_subject ON likes (actor_id, subject_id, rkey) WHERE subject_id IS NOT NULL;
-- What orders pages ends in what no two rows of a page share: however many rows have one time, a page reads its own.
CREATE INDEX likes_actor ON likes (actor_id, sort_at, rkey) WHERE subject_id IS NOT NULL;
CREATE INDEX likes_subject ON likes (subject_id, sort_at, actor_id) WHERE subject_id IS NOT NULL;
-- Statistics where plans depend on them, and no larger a sample than they need: they are taken after each load.
ALTER TABLE likes ALTER actor_id SET STATISTICS 30, ALTER subject_id SET STATISTICS 30, ALTER sort_at SET STATISTICS 30,
    ALTER rkey SET STATISTICS 0, ALTER rev SET STATISTICS 0, ALTER indexed_at SET STATISTICS 0,
    ALTER subject_cid_id SET STATISTICS 0, ALTER created_at SET STATISTICS 0, ALTER cid SET STATISTICS 0;

-- `cid` null: a tombstone.
CREATE TABLE lists (
    actor_id    bigint NOT NULL,
    rkey        bigint NOT NULL,
    rev         bigint NOT NULL,
    indexed_at  timestamptz NOT NULL,
    sort_at     timestamptz,
    created_at  timestamptz,
    updated_at  timestamptz,
    cid         bytea,
    name        text,
    list_type   text,
    item_uris   text[] NOT NULL DEFAULT '{}',
    item_cids   text[] NOT NULL DEFAULT '{}',
    -- So that the items of a long list need not be unpacked to say how many there are.
    item_count  bigint NOT NULL GENERATED ALWAYS AS (cardinality(item_uris)) STORED,
    PRIMARY KEY (actor_id, rkey)
);
-- Long lists are compressed by the faster method, where the server has it.
DO $$ BEGIN
    ALTER TABLE lists ALTER item_uris SET COMPRESSION lz4, ALTER item_cids SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN NULL;
END $$;
CREATE INDEX lists_actor ON lists (actor_id, sort_at, rkey) WHERE cid IS NOT NULL;
CREATE INDEX lists_type ON lists (actor_id, list_type, sort_at, rkey) WHERE cid IS NOT NULL;
CREATE INDEX lists_liked ON lists (actor_id, rev, rkey) WHERE cid IS NOT NULL AND list_type = 'liked';
CREATE INDEX lists_rev ON lists (actor_id, rev);

-- `cid` null: a tombstone.
CREATE TABLE profiles (
    actor_id    bigint PRIMARY KEY,
    rev         bigint NOT NULL,
    indexed_at  timestamptz NOT NULL,
    created_at  timestamptz,
    updated_at  timestamptz,
    cid         bytea,
    avatar      text,
    bio         text
);
