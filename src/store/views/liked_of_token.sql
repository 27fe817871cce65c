-- An actor with few likes: all of them, out of one stretch of the index, whatever was asked. An actor with many: each track asked
-- for is looked up. Either way the work is bounded, and the table is not visited. A hidden actor likes nothing, and no actor
-- likes the tracks of one, of which there are none on most days.
SELECT CASE WHEN cardinality(few.ids) <= 256 THEN few.ids
    ELSE ARRAY(
        SELECT asked.id FROM unnest($3::bigint[]) AS asked (id)
        WHERE (SELECT l.rkey FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id = asked.id LIMIT 1) IS NOT NULL
    ) END AS "liked!: Vec<i64>",
    CASE WHEN EXISTS (SELECT FROM hidden_tracks) THEN ARRAY(
        SELECT h.track_id FROM unnest($3::bigint[]) AS asked (id) JOIN hidden_tracks h ON h.track_id = asked.id
    ) ELSE '{}' END AS "hidden!: Vec<i64>"
FROM sessions s CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT l.subject_id FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM hidden_actors h WHERE h.actor_id = s.actor_id)
        ORDER BY l.subject_id LIMIT 257
    ) AS ids OFFSET 0
) AS few
WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL
