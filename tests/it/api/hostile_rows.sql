-- A million rows as untrusted accounts would make them. Who is who: 1 artist, 2 artist who is hidden, 3 likes tracks that do not exist, 4 likes
-- one track again and again, 5 likes and unlikes, 6 makes lists, 7 likes a shown track and then hidden ones, 8 listener with a token. From
-- 1001 on: likers of track 1, of whom 30,000 are shown, and those of the greatest numbers are hidden, the last 20,000 just now.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO actors (did, handle) SELECT 'did:plc:' || name, name || '.test'
    FROM unnest('{artist,hidden,flood,repeater,undoer,lister,fan,listener}'::text[]) WITH ORDINALITY AS n (name, place) ORDER BY place;
INSERT INTO actors (did) SELECT 'did:plc:more' || n FROM generate_series(9, 100000) AS n ORDER BY n;
INSERT INTO uncounted_actors (actor_id, is_hidden, uncounted_to)
    SELECT n, true, CASE WHEN n < 80000 THEN 9223372036854775807 ELSE -1 END FROM generate_series(31001, 100000) AS n
    UNION ALL SELECT 2, true, 9223372036854775807;
-- Tracks of the artist up to 100,000, of the hidden one up to 150,000, and named ones without a record.
INSERT INTO tracks (uri, artist_id, rev, title, sort_at, created_at, indexed_at, cid, features)
    SELECT 'at://did:plc:' || CASE WHEN n > 100000 THEN 'hidden' ELSE 'artist' END || '/fm.plyr.track/' || n,
        CASE WHEN n > 100000 THEN 2 ELSE 1 END, 1, 'T', '2026-01-01Z', '2026-01-01Z', '2026-01-01Z',
        decode('01711220' || repeat('00', 32), 'hex'), '{did:plc:artist,did:plc:hidden,did:plc:fan}'
    FROM generate_series(1, 150000) AS n ORDER BY n;
INSERT INTO tracks (uri, artist_id) SELECT 'at://did:plc:flood/fm.plyr.track/' || n, 3 FROM generate_series(150001, 350000) AS n ORDER BY n;
INSERT INTO hidden_tracks SELECT id, artist_id FROM tracks WHERE artist_id = 2;
INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, subject_cid_id, sort_at, created_at)
    SELECT actor_id, rkey, rkey, '2026-01-01Z', subject_id, 1, CASE WHEN subject_id IS NOT NULL THEN at END, at FROM (
        SELECT 3 AS actor_id, n AS rkey, 150000 + n AS subject_id, timestamptz '2026-01-01Z' AS at FROM generate_series(1, 200000) AS n
        UNION ALL SELECT 4, n, 1, '2026-01-01Z' FROM generate_series(1, 100000) AS n
        UNION ALL SELECT 5, n, NULL, '2026-01-01Z' FROM generate_series(1, 100000) AS n
        UNION ALL SELECT 5, 100001, 1, '2025-01-01Z'
        UNION ALL SELECT 7, n, 100000 + n, '2026-01-01Z' FROM generate_series(1, 5000) AS n
        UNION ALL SELECT 7, 5001, 1, '2025-01-01Z'
        UNION ALL SELECT 8, n, n, '2026-01-01Z' FROM generate_series(1, 900) AS n
        UNION ALL SELECT n, 1, 1, '2026-01-01Z' FROM generate_series(1001, 100000) AS n
    ) AS made;
INSERT INTO subject_cids (cid) VALUES (decode('01711220' || repeat('00', 32), 'hex'));
INSERT INTO lists (actor_id, rkey, rev, indexed_at, sort_at, created_at, cid, list_type, item_uris, item_cids)
    SELECT 6, n, n, '2026-01-01Z', '2026-01-01Z', '2026-01-01Z', decode('01711220' || repeat('00', 32), 'hex'),
        CASE WHEN n % 5000 = 0 THEN 'liked' ELSE 'album' END, '{}', '{}' FROM generate_series(1, 50000) AS n;
INSERT INTO lists (actor_id, rkey, rev, indexed_at, sort_at, created_at, cid, list_type, item_uris, item_cids)
    SELECT 8, 1, 1, '2026-01-01Z', '2026-01-01Z', '2026-01-01Z', decode('01711220' || repeat('00', 32), 'hex'), 'liked',
        array_agg('at://did:plc:artist/fm.plyr.track/' || n), array_agg(text 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
    FROM generate_series(401, 900) AS n;
INSERT INTO rejects (digest, source, reason, detail, raw_format, raw, raw_length, at)
    SELECT n::text::bytea, 's', CASE WHEN n < 25000 THEN 'lexicon' ELSE 'rev' END, 'd', 'frame', '', 0, now() FROM generate_series(1, 50000) AS n;
INSERT INTO repos (did, state, cause, requested_at, due_at, read_at)
    SELECT 'did:plc:' || n, CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'failed' ELSE 'done' END, 'audit', now(), now(), now()
    FROM generate_series(1, 60000) AS n;
INSERT INTO gaps (source, reason, did, detail, opened_at, state, closed_at, closed_by)
    SELECT 's', 'sync', 'did:plc:' || n, 'd', now(), CASE WHEN n % 2 = 0 THEN 'open' ELSE 'closed' END,
        CASE WHEN n % 2 = 1 THEN now() END, CASE WHEN n % 2 = 1 THEN 'repair' END FROM generate_series(1, 40000) AS n;
INSERT INTO account_checks (actor_id, reason, since, due_at) SELECT n, 'commit', now(), now() FROM generate_series(1, 20000) AS n;
INSERT INTO track_counts SELECT t.id, CASE WHEN t.id = 1 THEN 50003 WHEN t.id > 150000 THEN 1 ELSE 0 END FROM tracks t;
INSERT INTO many_likers SELECT actor_id, count(DISTINCT subject_id), max(rev) FROM likes WHERE actor_id IN (3, 4, 5, 7) GROUP BY 1;
SELECT show_tracks(array_agg(id)) FROM tracks;
