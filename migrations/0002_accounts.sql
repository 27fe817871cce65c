-- Visibility follows the account, then what is known of accounts besides their records.
--
-- An actor is hidden by one row, and shown again by changing it, so that every view changes at once, however much the actor has
-- written. The like counts are stored sums and follow in small steps, each in its own short transaction. Until they have followed,
-- `visible_like_counts` adds the difference, so that at every moment the count shown is the number of likers shown.

-- Actors whose likes are not, or not all, in the counts.
CREATE TABLE uncounted_actors (
    actor_id      bigint PRIMARY KEY,
    -- False: shown again, but not all of the actor's likes are back in the counts.
    is_hidden     boolean NOT NULL,
    -- The actor's likes of tracks up to this id are not in `track_counts`; those above are. Hiding moves it up, showing moves it
    -- down, and either may reverse on the way.
    uncounted_to  bigint NOT NULL,
    -- Hidden, and none of the actor's likes is counted: nothing is left to do.
    is_uncounted  boolean NOT NULL GENERATED ALWAYS AS (is_hidden AND uncounted_to = 9223372036854775807) STORED
);
CREATE INDEX uncounted_actors_pending ON uncounted_actors (actor_id) WHERE NOT is_uncounted;

-- The tracks of hidden actors, also those whose record has not come: so that a track's artist need not be looked up first.
CREATE TABLE hidden_tracks (
    track_id   bigint PRIMARY KEY,
    artist_id  bigint NOT NULL
);
CREATE INDEX hidden_tracks_artist ON hidden_tracks (artist_id);

-- Whatever is shown is read through these: the rule who is hidden stands here, and nowhere else.
CREATE VIEW hidden_actors AS SELECT actor_id FROM uncounted_actors WHERE is_hidden;
CREATE VIEW visible_actors AS
    SELECT a.* FROM actors a WHERE NOT EXISTS (SELECT FROM hidden_actors h WHERE h.actor_id = a.id);
-- Also tracks whose record has not come, or is gone: their `title` is null.
CREATE VIEW visible_tracks AS
    SELECT t.* FROM tracks t WHERE NOT EXISTS (SELECT FROM hidden_tracks h WHERE h.track_id = t.id);

-- The tracks that are shown, as pages order them: their record is there, and their artist is not hidden. Rows of them alone, so that
-- a page reads no more than it shows, however many tracks are only named, or hidden.
CREATE TABLE shown_tracks (
    track_id   bigint PRIMARY KEY,
    artist_id  bigint NOT NULL,
    sort_at    timestamptz NOT NULL
);
CREATE INDEX shown_tracks_recent ON shown_tracks (sort_at, track_id);
CREATE INDEX shown_tracks_artist ON shown_tracks (artist_id, sort_at, track_id);

-- Likewise by popularity: apart, because it is written with every like. `like_count` is a copy of the one in `track_counts`, which after
-- a statement that moves many counts follows in small steps.
CREATE TABLE popular_tracks (
    track_id    bigint PRIMARY KEY,
    artist_id   bigint NOT NULL,
    like_count  bigint NOT NULL
);
CREATE INDEX popular_tracks_all ON popular_tracks (like_count, track_id);
CREATE INDEX popular_tracks_artist ON popular_tracks (artist_id, like_count, track_id);

-- Shows those of these tracks that are to be shown, and no other of them. Whatever changes a track or its artist ends here.
CREATE FUNCTION show_tracks(ids bigint[]) RETURNS void LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH gone AS (
        SELECT asked.id FROM unnest(ids) AS asked (id)
        WHERE NOT EXISTS (SELECT FROM visible_tracks t WHERE t.id = asked.id AND t.title IS NOT NULL)
    ), unranked AS (
        DELETE FROM popular_tracks p USING gone WHERE p.track_id = gone.id
    )
    DELETE FROM shown_tracks s USING gone WHERE s.track_id = gone.id;
    INSERT INTO shown_tracks AS s SELECT t.id, t.artist_id, t.sort_at FROM visible_tracks t
        WHERE t.id = ANY (ids) AND t.title IS NOT NULL
        ON CONFLICT (track_id) DO UPDATE SET sort_at = excluded.sort_at WHERE s.sort_at <> excluded.sort_at;
    INSERT INTO popular_tracks SELECT t.id, t.artist_id, coalesce(c.like_count, 0) FROM visible_tracks t
        LEFT JOIN track_counts c ON c.track_id = t.id
        WHERE t.id = ANY (ids) AND t.title IS NOT NULL
        ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION show_inserted_tracks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM show_tracks(array_agg(a.id)) FROM added a WHERE a.title IS NOT NULL HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION show_updated_tracks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM show_tracks(array_agg(a.id)) FROM added a JOIN removed r ON r.id = a.id
        WHERE (a.title IS NULL) <> (r.title IS NULL) OR a.sort_at IS DISTINCT FROM r.sort_at HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE FUNCTION show_changed_tracks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM show_tracks(array_agg(track_id)) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER show_inserted_tracks AFTER INSERT ON tracks
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION show_inserted_tracks();
CREATE TRIGGER show_updated_tracks AFTER UPDATE ON tracks
    REFERENCING NEW TABLE AS added OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION show_updated_tracks();
CREATE TRIGGER hide_tracks AFTER INSERT ON hidden_tracks
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION show_changed_tracks();
CREATE TRIGGER unhide_tracks AFTER DELETE ON hidden_tracks
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION show_changed_tracks();

CREATE FUNCTION hide_inserted_tracks() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM uncounted_actors) THEN
        INSERT INTO hidden_tracks (track_id, artist_id)
            SELECT a.id, a.artist_id FROM added a
            WHERE EXISTS (SELECT FROM hidden_actors h WHERE h.actor_id = a.artist_id)
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hide_inserted_tracks AFTER INSERT ON tracks
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION hide_inserted_tracks();

-- Advances whenever an actor is hidden, shown or purged, so that writers know when to reload what they remember of the tables
-- `uncounted_actors` and `account_tombstones`.
CREATE SEQUENCE account_generation;

-- What is left of an account that was deleted: commits up to this rev are ignored, so that none comes back that a source delivers
-- late. This is no guard of a repo in use, which would lose the operations of a commit that one source delivered in part: it is the
-- tombstone of all of the repo's paths at once, in one row instead of many, and lies below everything written after it.
CREATE TABLE account_tombstones (
    actor_id      bigint PRIMARY KEY,
    rev           bigint NOT NULL,
    -- Rows up to `rev` are still being removed.
    is_purging    boolean NOT NULL,
    -- The account came back, and its repo is to be resynced.
    needs_resync  boolean NOT NULL DEFAULT false
);
CREATE INDEX account_tombstones_purging ON account_tombstones (actor_id) WHERE is_purging;
CREATE INDEX account_tombstones_needs_resync ON account_tombstones (actor_id) WHERE needs_resync;

-- Accounts whose state is to be asked of the server that their DID document names: what a stream says is a hint.
CREATE TABLE account_checks (
    actor_id  bigint PRIMARY KEY,
    reason    text NOT NULL CHECK (reason IN ('changed', 'deleted', 'contradicted', 'unclear', 'commit')),
    attempts  integer NOT NULL DEFAULT 0,
    since     timestamptz NOT NULL,
    due_at    timestamptz NOT NULL,
    -- How often the check was requested since it waits. An answer ends the check only if there was no request while the server was
    -- being asked.
    requests  integer NOT NULL DEFAULT 1
);
CREATE INDEX account_checks_due ON account_checks (due_at);

-- What a DID document says, and whether its handle says the same. A copy of what PLC, did:web hosts and the handles' domains serve,
-- with its age.
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
    -- When an #identity event last came.
    event_at      timestamptz,
    -- The last failure, while no success came after it, and how many there were in a row.
    failure       text CHECK (failure IN ('not_found', 'tombstone', 'unsupported', 'document', 'host')),
    detail        text,
    failed_at     timestamptz,
    tries         integer NOT NULL DEFAULT 0,
    -- When it is to be refreshed.
    due_at        timestamptz NOT NULL
);
CREATE INDEX identities_due ON identities (due_at);
-- Those that can be refreshed while the PLC directory is away.
CREATE INDEX identities_due_elsewhere ON identities (due_at) WHERE did NOT LIKE 'did:plc:%';
CREATE INDEX identities_event ON identities (event_at) WHERE event_at IS NOT NULL;
ALTER TABLE identities ALTER did SET STATISTICS 10, ALTER pds SET STATISTICS 10, ALTER signing_key SET STATISTICS 0,
    ALTER handle SET STATISTICS 0, ALTER detail SET STATISTICS 0;

-- Name and picture of visible artists and likers, as `app.bsky.actor.profile` says. A copy of what their PDSes hold, with its age,
-- for display alone: nothing is counted or decided by it, and no stream delivers it.
--
-- One row for each actor, also for one that has no such record.
CREATE TABLE bluesky_profiles (
    actor_id      bigint PRIMARY KEY,
    display_name  text,
    -- The picture is a blob of the actor's repo, on this server.
    avatar_cid    bytea,
    host          text COLLATE "C",
    -- The last answer, and when it was requested: the record, none, or one that was rejected.
    outcome       text CHECK (outcome IN ('found', 'absent', 'refused')),
    fetched_at    timestamptz,
    -- Why the last attempt had no answer, or why the record was rejected; and how many in a row had no answer.
    detail        text,
    tries         integer NOT NULL DEFAULT 0,
    -- When it is to be requested (again).
    due_at        timestamptz NOT NULL
);
CREATE INDEX bluesky_profiles_due ON bluesky_profiles (due_at);
ALTER TABLE bluesky_profiles ALTER display_name SET STATISTICS 0, ALTER avatar_cid SET STATISTICS 0,
    ALTER host SET STATISTICS 0, ALTER detail SET STATISTICS 0;

-- Bearer tokens and, later, browser sessions. Only the SHA-256 of a token is kept. Not rebuilt from the repos.
CREATE TABLE sessions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash  bytea NOT NULL UNIQUE,
    actor_id    bigint NOT NULL REFERENCES actors (id),
    name        text,
    may_write   boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
