-- The actors of a stretch, newest like first, and of each the one like that stands for all of theirs, if this is its place.
SELECT a.id AS "actor_id!", a.did AS "did!", a.handle, p.avatar AS "avatar?", b.display_name AS "display_name?",
    b.avatar_cid AS "avatar_cid?", b.host AS "host?", l.rkey, l.created_at, l.indexed_at, l.sort_at AS "sort_at!"
FROM (
    SELECT DISTINCT sort_at, actor_id FROM (
        SELECT sort_at, actor_id FROM likes
        WHERE subject_id = $1 AND (sort_at, actor_id) < (coalesce($2::timestamptz, 'infinity'), $3)
        ORDER BY sort_at DESC, actor_id DESC LIMIT $5
    ) AS stretch
) AS k
JOIN visible_actors a ON a.id = k.actor_id
CROSS JOIN LATERAL (
    SELECT rkey FROM likes WHERE actor_id = k.actor_id AND subject_id = $1 ORDER BY rkey DESC LIMIT 1
) AS newest
JOIN likes l ON l.actor_id = k.actor_id AND l.rkey = newest.rkey AND l.sort_at = k.sort_at
LEFT JOIN profiles p ON p.actor_id = a.id AND p.cid IS NOT NULL
LEFT JOIN bluesky_profiles b ON b.actor_id = a.id
WHERE EXISTS (SELECT FROM visible_tracks WHERE id = $1)
ORDER BY k.sort_at DESC, k.actor_id DESC LIMIT $4
