-- What `app.bsky.actor.profile` says of those who are shown, artists and likers: name and picture. A copy of what their PDSes
-- hold, with its age, for display alone: nothing is counted or decided by it, and no stream tells of it.
--
-- One row for each actor, also for one who has no such record.
CREATE TABLE bluesky_profiles (
    actor_id      bigint PRIMARY KEY,
    display_name  text,
    -- The picture is a blob of the actor's repo, on this server.
    avatar_cid    bytea,
    host          text COLLATE "C",
    -- The last answer, and when it was asked for: the record, none, or one that is not taken.
    outcome       text CHECK (outcome IN ('found', 'absent', 'refused')),
    fetched_at    timestamptz,
    -- Why the last attempt brought no answer, or why the record is not taken; and how many in a row brought none.
    detail        text,
    tries         integer NOT NULL DEFAULT 0,
    -- When it is to be asked for (again).
    due_at        timestamptz NOT NULL
);
CREATE INDEX bluesky_profiles_due ON bluesky_profiles (due_at);
ALTER TABLE bluesky_profiles ALTER display_name SET STATISTICS 0, ALTER avatar_cid SET STATISTICS 0,
    ALTER host SET STATISTICS 0, ALTER detail SET STATISTICS 0;

-- Of whom an #identity event told lately.
CREATE INDEX identities_told ON identities (told_at) WHERE told_at IS NOT NULL;
