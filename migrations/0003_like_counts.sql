-- Like counts, kept by the database: any statement that changes `likes` changes the counts with it, in its transaction.
--
-- A pair (actor, subject) counts once, however many records say it. After a statement, the pair has `now` live records; before
-- it, it had `now` less those the statement wrote plus those it removed. The count moves by the difference of "has any". Pairs
-- that `uncounted_to` excludes are left out; mostly no actor is hidden, so each statement first asks whether any is.
--
-- A statement must insert or update, not both at once (no ON CONFLICT DO UPDATE on `likes`): two triggers that each see
-- the whole outcome could not tell which change was whose. Writers take the advisory lock of the apply floor, so that two
-- transactions never count one pair at the same time.
--
-- `enable_seqscan` is off inside: the plans are kept, and one made while the tables were empty must not scan them later.

-- Distinct actors with a live like, by subject. Narrow and apart from `tracks`, because it is written with every like: room is
-- left on each page so that an update stays on it.
CREATE TABLE track_counts (
    track_id    bigint PRIMARY KEY,
    like_count  bigint NOT NULL DEFAULT 0 CHECK (like_count >= 0)
) WITH (fillfactor = 50);

-- Tracks whose place in `popular_tracks` has still to follow their count, perhaps several times. They come at the end and go from the
-- beginning: no index.
CREATE TABLE unranked_tracks (track_id bigint NOT NULL);

-- A place follows its count at once, unless a statement moves many: then a leader moves the places, some at a time.
CREATE FUNCTION rank_counted_tracks() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF (SELECT count(*) FROM added) > 1000 THEN
        INSERT INTO unranked_tracks SELECT a.track_id FROM added a;
    ELSE
        UPDATE popular_tracks p SET like_count = a.like_count FROM added a
        WHERE p.track_id = a.track_id AND p.like_count <> a.like_count;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER rank_counted_tracks AFTER UPDATE ON track_counts
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION rank_counted_tracks();

-- Actors with many likes, which are more than a thousand paths, live or tombstone. What would be read of all the likes of an actor is
-- read of those who have few, and kept here for these. An actor gets here by a random sample of new likes, soon after the thousandth.
CREATE TABLE many_likers (
    actor_id    bigint PRIMARY KEY,
    -- Distinct tracks with a live like, also those that are not shown.
    like_count  bigint NOT NULL,
    -- The greatest rev of the actor's likes.
    newest_rev  bigint NOT NULL
) WITH (fillfactor = 50);

-- The counts as they are shown: what is kept, less the actors that are hidden and still counted, plus those that are shown and not
-- yet counted again. Where very many accounts have been hidden or shown at once, it is the next ones to follow that are looked at.
CREATE VIEW visible_like_counts AS
    SELECT c.track_id, c.like_count + (
        SELECT coalesce(sum(CASE WHEN u.is_hidden THEN -1 ELSE 1 END), 0)::bigint FROM (
            SELECT * FROM uncounted_actors WHERE NOT is_uncounted ORDER BY actor_id LIMIT 100
        ) AS u
        WHERE u.is_hidden = (u.uncounted_to < c.track_id)
            -- A look-up by pair asks for the key too, which only the index of pairs has: of the likes of a subject there may be very many.
            AND (SELECT l.rkey FROM likes l WHERE l.actor_id = u.actor_id AND l.subject_id = c.track_id LIMIT 1) IS NOT NULL
    ) AS like_count FROM track_counts c;

-- The likes that make up `track_counts`, for its standing check.
CREATE VIEW counted_likes AS
    SELECT l.actor_id, l.subject_id FROM likes l WHERE l.subject_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM uncounted_actors u WHERE u.actor_id = l.actor_id AND u.uncounted_to >= l.subject_id
    );

-- The standing check of the counts, one row: where it is, and what it has found.
CREATE TABLE count_checks (
    id            smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    track_id      bigint NOT NULL DEFAULT 0,
    actor_id      bigint NOT NULL DEFAULT 0,
    checked       bigint NOT NULL DEFAULT 0,
    corrected     bigint NOT NULL DEFAULT 0,
    checked_at    timestamptz,
    corrected_at  timestamptz
);
INSERT INTO count_checks DEFAULT VALUES;

CREATE FUNCTION count_inserted_likes() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH marked AS (
        SELECT a.actor_id, a.subject_id, o.is_shared FROM added a LEFT JOIN LATERAL (
            SELECT true AS is_shared FROM likes l
            WHERE l.actor_id = a.actor_id AND l.subject_id = a.subject_id AND l.rkey <> a.rkey LIMIT 1
        ) AS o ON true
        WHERE a.subject_id IS NOT NULL
    ), shared AS (
        SELECT actor_id, subject_id, count(*) AS records FROM marked WHERE is_shared GROUP BY 1, 2
    ), pairs AS (
        SELECT actor_id, subject_id FROM marked WHERE is_shared IS NULL
        UNION ALL
        -- All that there are came with this statement. One more than that is enough to know that they did not.
        SELECT actor_id, subject_id FROM shared s WHERE s.records = (SELECT count(*) FROM (
            SELECT FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id = s.subject_id
            ORDER BY l.rkey LIMIT s.records + 1
        ) AS live)
    ), many AS (
        UPDATE many_likers m SET like_count = m.like_count + d.delta FROM (
            SELECT p.actor_id, count(*) AS delta FROM pairs p JOIN many_likers k ON k.actor_id = p.actor_id
            WHERE (SELECT EXISTS (SELECT FROM many_likers)) GROUP BY 1
        ) AS d WHERE m.actor_id = d.actor_id
    ), moves AS (
        SELECT subject_id, count(*) AS delta FROM pairs a
        WHERE NOT (SELECT EXISTS (SELECT FROM uncounted_actors)) OR NOT EXISTS (
            SELECT FROM uncounted_actors u WHERE u.actor_id = a.actor_id AND u.uncounted_to >= a.subject_id
        )
        GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count + m.delta FROM moves m WHERE c.track_id = m.subject_id;
    RETURN NULL;
END $$;

CREATE FUNCTION count_updated_likes() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH pairs AS (
        SELECT actor_id, subject_id, sum(change) AS change FROM (
            SELECT actor_id, subject_id, 1 AS change FROM added WHERE subject_id IS NOT NULL
            UNION ALL
            SELECT actor_id, subject_id, -1 FROM removed WHERE subject_id IS NOT NULL
        ) AS changes GROUP BY 1, 2 HAVING sum(change) <> 0
    ), counted AS (
        -- One more than the change is enough to know whether there are any, and were.
        SELECT p.actor_id, p.subject_id, p.change, (SELECT count(*) FROM (
            SELECT FROM likes l WHERE l.actor_id = p.actor_id AND l.subject_id = p.subject_id
            ORDER BY l.rkey LIMIT abs(p.change) + 1
        ) AS live) AS now
        FROM pairs p
    ), moved AS (
        SELECT actor_id, subject_id, (now > 0)::int - (now - change > 0)::int AS delta FROM counted
    ), many AS (
        UPDATE many_likers m SET like_count = m.like_count + d.delta FROM (
            SELECT p.actor_id, sum(p.delta) AS delta FROM moved p JOIN many_likers k ON k.actor_id = p.actor_id
            WHERE (SELECT EXISTS (SELECT FROM many_likers)) GROUP BY 1
        ) AS d WHERE m.actor_id = d.actor_id
    ), moves AS (
        SELECT subject_id, sum(delta) AS delta FROM moved p
        WHERE NOT (SELECT EXISTS (SELECT FROM uncounted_actors)) OR NOT EXISTS (
            SELECT FROM uncounted_actors u WHERE u.actor_id = p.actor_id AND u.uncounted_to >= p.subject_id
        )
        GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count + m.delta FROM moves m
    WHERE c.track_id = m.subject_id AND m.delta <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION count_deleted_likes() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH pairs AS (
        SELECT actor_id, subject_id FROM (SELECT DISTINCT actor_id, subject_id FROM removed WHERE subject_id IS NOT NULL) AS p
        WHERE (SELECT l.rkey FROM likes l WHERE l.actor_id = p.actor_id AND l.subject_id = p.subject_id LIMIT 1) IS NULL
    ), many AS (
        UPDATE many_likers m SET like_count = m.like_count - d.delta FROM (
            SELECT p.actor_id, count(*) AS delta FROM pairs p JOIN many_likers k ON k.actor_id = p.actor_id
            WHERE (SELECT EXISTS (SELECT FROM many_likers)) GROUP BY 1
        ) AS d WHERE m.actor_id = d.actor_id
    ), moves AS (
        SELECT subject_id, count(*) AS delta FROM pairs p
        WHERE NOT (SELECT EXISTS (SELECT FROM uncounted_actors)) OR NOT EXISTS (
            SELECT FROM uncounted_actors u WHERE u.actor_id = p.actor_id AND u.uncounted_to >= p.subject_id
        )
        GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count - m.delta FROM moves m WHERE c.track_id = m.subject_id;
    RETURN NULL;
END $$;

-- Runs after the counts: what they count of an actor who gets here by this statement is what stands there by now.
CREATE FUNCTION find_many_likers() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM many_likers) THEN
        UPDATE many_likers m SET newest_rev = greatest(m.newest_rev, n.rev)
        FROM (SELECT a.actor_id, max(a.rev) AS rev FROM added a GROUP BY 1) AS n WHERE m.actor_id = n.actor_id;
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO many_likers SELECT l.actor_id, count(DISTINCT l.subject_id), max(l.rev) FROM likes l WHERE l.actor_id IN (
            SELECT a.actor_id FROM added a WHERE random() < 1.0 / 256
                AND NOT EXISTS (SELECT FROM many_likers m WHERE m.actor_id = a.actor_id)
                AND (SELECT count(*) FROM (SELECT FROM likes k WHERE k.actor_id = a.actor_id LIMIT 1001) AS paths) > 1000
        ) GROUP BY 1;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER count_inserted_likes AFTER INSERT ON likes
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_inserted_likes();
CREATE TRIGGER count_updated_likes AFTER UPDATE ON likes
    REFERENCING NEW TABLE AS added OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_updated_likes();
CREATE TRIGGER count_deleted_likes AFTER DELETE ON likes
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_likes();
CREATE TRIGGER find_many_likers AFTER INSERT ON likes
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION find_many_likers();
CREATE TRIGGER follow_many_likers AFTER UPDATE ON likes
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION find_many_likers();
