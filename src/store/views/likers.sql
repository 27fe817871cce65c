SELECT a.did AS "did!", a.handle, p.avatar AS "avatar?", b.display_name AS "display_name?", b.avatar_cid AS "avatar_cid?",
    b.host AS "host?", l.rkey, l.created_at, l.indexed_at, l.sort_at AS "sort_at!"
FROM likes l JOIN visible_actors a ON a.id = l.actor_id
LEFT JOIN profiles p ON p.actor_id = a.id AND p.cid IS NOT NULL
LEFT JOIN bluesky_profiles b ON b.actor_id = a.id
WHERE l.subject_id = $1 AND EXISTS (SELECT FROM visible_tracks WHERE id = $1)
    AND l.sort_at <= coalesce($2::timestamptz, 'infinity')
    AND (l.sort_at, a.did, l.rkey) < (coalesce($2::timestamptz, 'infinity'), $3, $4)
    AND NOT EXISTS (
        SELECT FROM likes newer WHERE newer.actor_id = l.actor_id AND newer.subject_id = l.subject_id
            AND (newer.sort_at, newer.rkey) > (l.sort_at, l.rkey)
    )
ORDER BY l.sort_at DESC, a.did DESC, l.rkey DESC LIMIT $5
