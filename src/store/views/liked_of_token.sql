SELECT ARRAY(
    SELECT l.subject_id FROM likes l WHERE l.actor_id = s.actor_id AND l.subject_id = ANY ($3)
) AS "liked!: Vec<i64>"
FROM sessions s WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL
