-- Visibility follows the account.
--
-- An actor is hidden by one row, and shown again by one row: every view looks here, so that all of them change at once, however
-- much the actor has written. The like counts are stored sums and follow in small steps, each a transaction of its own that
-- holds up nobody for long. Until they have followed, whoever shows a count adds what `uncounted_to` says is still wrong in it,
-- so that at every moment the number shown is the number of those who are shown.

CREATE TABLE hidden_actors (
    actor_id      bigint PRIMARY KEY,
    -- False: shown again, but not all of the actor's likes are back in the counts.
    is_hidden     boolean NOT NULL,
    -- Of the actor's likes those of tracks up to this id are not in `track_counts`; those above are. Hiding moves it up, showing
    -- moves it down, and either may turn round on the way.
    uncounted_to  bigint NOT NULL,
    is_settled    boolean NOT NULL GENERATED ALWAYS AS (is_hidden AND uncounted_to = 9223372036854775807) STORED
);
CREATE INDEX hidden_actors_unsettled ON hidden_actors (actor_id) WHERE NOT is_settled;

-- The tracks of hidden actors, also those whose record has not come: so that nobody need ask for a track's artist first.
CREATE TABLE hidden_tracks (
    track_id   bigint PRIMARY KEY,
    artist_id  bigint NOT NULL
);
CREATE INDEX hidden_tracks_artist ON hidden_tracks (artist_id);
CREATE INDEX tracks_of_artist ON tracks (artist_id);

-- What is left of an account that was deleted: commits up to this rev are ignored, so that none comes back that a source brings
-- late. This is no guard of a repo in use, which would lose the operations of a commit that one source told in part: it is the
-- tombstone of all of the repo's paths at once, in one row instead of many, and lies below everything written after it.
CREATE TABLE account_floors (
    actor_id    bigint PRIMARY KEY,
    rev         bigint NOT NULL,
    -- Rows up to `rev` are still being removed.
    is_purging  boolean NOT NULL,
    -- The account came back, and its repo is to be read again.
    wants_read  boolean NOT NULL DEFAULT false
);
CREATE INDEX account_floors_purging ON account_floors (actor_id) WHERE is_purging;
CREATE INDEX account_floors_wants_read ON account_floors (actor_id) WHERE wants_read;

-- Moves whenever an actor is hidden, shown or purged, so that writers know when to read the two tables above anew.
CREATE SEQUENCE account_generation;

-- Accounts whose state is to be asked of the server that their DID document names: what a stream says is a hint.
CREATE TABLE account_checks (
    actor_id  bigint PRIMARY KEY,
    reason    text NOT NULL CHECK (reason IN ('changed', 'deleted', 'contradicted', 'unclear', 'commit')),
    attempts  integer NOT NULL DEFAULT 0,
    since     timestamptz NOT NULL,
    due_at    timestamptz NOT NULL
);
CREATE INDEX account_checks_due ON account_checks (due_at);

-- The standing check of the counts, one row: where it is, and what it has found.
CREATE TABLE count_checks (
    id          smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    track_id    bigint NOT NULL DEFAULT 0,
    checked     bigint NOT NULL DEFAULT 0,
    drifted     bigint NOT NULL DEFAULT 0,
    checked_at  timestamptz,
    drifted_at  timestamptz
);
INSERT INTO count_checks DEFAULT VALUES;

-- What has been said of accounts so far takes effect.
INSERT INTO hidden_actors (actor_id, is_hidden, uncounted_to)
    SELECT id, true, -1 FROM actors WHERE NOT active AND coalesce(status, '') NOT IN ('throttled', 'desynchronized');
INSERT INTO hidden_tracks (track_id, artist_id)
    SELECT t.id, t.artist_id FROM tracks t JOIN hidden_actors h ON h.actor_id = t.artist_id;
UPDATE actors SET active = true, status = NULL, status_at = NULL
    WHERE NOT active AND status IN ('throttled', 'desynchronized');

CREATE FUNCTION tracks_hidden_insert() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM hidden_actors) THEN
        INSERT INTO hidden_tracks (track_id, artist_id)
            SELECT a.id, a.artist_id FROM added a
            WHERE EXISTS (SELECT FROM hidden_actors h WHERE h.actor_id = a.artist_id AND h.is_hidden)
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tracks_hidden_insert AFTER INSERT ON tracks
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tracks_hidden_insert();

-- The functions of migration 2, which now leave out the pairs that `uncounted_to` leaves out. Nearly always nobody is hidden of
-- those who wrote; that there may be somebody is asked once for each statement.

CREATE OR REPLACE FUNCTION likes_counted_insert() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH marked AS (
        SELECT a.actor_id, a.subject_id, o.is_shared FROM added a LEFT JOIN LATERAL (
            SELECT true AS is_shared FROM likes l
            WHERE l.actor_id = a.actor_id AND l.subject_id = a.subject_id AND l.rkey <> a.rkey LIMIT 1
        ) AS o ON true
        WHERE a.subject_id IS NOT NULL AND (NOT (SELECT EXISTS (SELECT FROM hidden_actors)) OR NOT EXISTS (
            SELECT FROM hidden_actors h WHERE h.actor_id = a.actor_id AND h.uncounted_to >= a.subject_id
        ))
    ), shared AS (
        SELECT actor_id, subject_id, count(*) AS records FROM marked WHERE is_shared GROUP BY 1, 2
    ), moves AS (
        SELECT subject_id, count(*) AS delta FROM (
            SELECT subject_id FROM marked WHERE is_shared IS NULL
            UNION ALL
            SELECT subject_id FROM shared s WHERE s.records =
                (SELECT count(*) FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id = s.subject_id)
        ) AS first GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count + m.delta FROM moves m WHERE c.track_id = m.subject_id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION likes_counted_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH pairs AS (
        SELECT actor_id, subject_id, sum(change) AS change FROM (
            SELECT actor_id, subject_id, 1 AS change FROM added WHERE subject_id IS NOT NULL
            UNION ALL
            SELECT actor_id, subject_id, -1 FROM removed WHERE subject_id IS NOT NULL
        ) AS changes GROUP BY 1, 2 HAVING sum(change) <> 0
    ), counted AS (
        SELECT p.subject_id, p.change,
            (SELECT count(*) FROM likes l WHERE l.actor_id = p.actor_id AND l.subject_id = p.subject_id) AS now
        FROM pairs p
        WHERE NOT (SELECT EXISTS (SELECT FROM hidden_actors)) OR NOT EXISTS (
            SELECT FROM hidden_actors h WHERE h.actor_id = p.actor_id AND h.uncounted_to >= p.subject_id
        )
    ), moves AS (
        SELECT subject_id, sum((now > 0)::int - (now - change > 0)::int) AS delta FROM counted GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count + m.delta FROM moves m
    WHERE c.track_id = m.subject_id AND m.delta <> 0;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION likes_counted_delete() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH pairs AS (
        SELECT DISTINCT actor_id, subject_id FROM removed WHERE subject_id IS NOT NULL
    ), moves AS (
        SELECT subject_id, count(*) AS delta FROM pairs p
        WHERE NOT EXISTS (SELECT FROM likes l WHERE l.actor_id = p.actor_id AND l.subject_id = p.subject_id)
            AND (NOT (SELECT EXISTS (SELECT FROM hidden_actors)) OR NOT EXISTS (
                SELECT FROM hidden_actors h WHERE h.actor_id = p.actor_id AND h.uncounted_to >= p.subject_id
            ))
        GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count - m.delta FROM moves m WHERE c.track_id = m.subject_id;
    RETURN NULL;
END $$;
