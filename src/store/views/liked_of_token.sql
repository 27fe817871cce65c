-- An actor with few likes: all of them, out of one stretch of the index, whatever was asked. An actor with many: each track asked
-- for is looked up. Either way the work is bounded, and the table is not visited.
SELECT CASE WHEN cardinality(few.ids) <= 256 THEN few.ids
    ELSE ARRAY(
        SELECT asked.id FROM unnest($3::bigint[]) AS asked (id)
        WHERE (SELECT true FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id = asked.id LIMIT 1)
    ) END AS "liked!: Vec<i64>"
FROM sessions s CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT l.subject_id FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id IS NOT NULL
        ORDER BY l.subject_id LIMIT 257
    ) AS ids OFFSET 0
) AS few
WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL
