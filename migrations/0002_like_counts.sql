-- Like counts, kept by the database: whatever statement changes `likes`, the counts change with it, in its transaction.
--
-- A pair (actor, subject) counts once, however many records say it. After a statement, the pair has `now` live records; before
-- it, it had `now` less those the statement wrote plus those it removed. The count moves by the difference of "has any".
--
-- A statement must insert or update, not both at once (no ON CONFLICT DO UPDATE on `likes`): two triggers that each see
-- the whole outcome could not tell whose change was whose. Writers take the advisory lock of the apply floor, so that two
-- transactions never count one pair at the same time.
--
-- `enable_seqscan` is off inside: the plans are kept, and one made while the tables were empty must not scan them later.

CREATE FUNCTION likes_counted_insert() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    -- Nearly every row is the only one of its pair; those that are not are few, and their pairs are counted out.
    WITH marked AS (
        SELECT a.actor_id, a.subject_id, o.is_shared FROM added a LEFT JOIN LATERAL (
            SELECT true AS is_shared FROM likes l
            WHERE l.actor_id = a.actor_id AND l.subject_id = a.subject_id AND l.rkey <> a.rkey LIMIT 1
        ) AS o ON true
        WHERE a.subject_id IS NOT NULL
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

CREATE FUNCTION likes_counted_update() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
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
    ), moves AS (
        SELECT subject_id, sum((now > 0)::int - (now - change > 0)::int) AS delta FROM counted GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count + m.delta FROM moves m
    WHERE c.track_id = m.subject_id AND m.delta <> 0;
    RETURN NULL;
END $$;

CREATE FUNCTION likes_counted_delete() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    WITH pairs AS (
        SELECT DISTINCT actor_id, subject_id FROM removed WHERE subject_id IS NOT NULL
    ), moves AS (
        SELECT subject_id, count(*) AS delta FROM pairs p
        WHERE NOT EXISTS (SELECT FROM likes l WHERE l.actor_id = p.actor_id AND l.subject_id = p.subject_id)
        GROUP BY 1
    )
    UPDATE track_counts c SET like_count = c.like_count - m.delta FROM moves m WHERE c.track_id = m.subject_id;
    RETURN NULL;
END $$;

CREATE TRIGGER likes_counted_insert AFTER INSERT ON likes
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION likes_counted_insert();
CREATE TRIGGER likes_counted_update AFTER UPDATE ON likes
    REFERENCING NEW TABLE AS added OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION likes_counted_update();
CREATE TRIGGER likes_counted_delete AFTER DELETE ON likes
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION likes_counted_delete();
