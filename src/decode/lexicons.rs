//! The lexicons, as they are published: what the records and queries of this index are.

/// NSID and JSON of each, in the namespace `fm.plyr`: the records, then the queries.
pub const ALL: [(&str, &str); 10] = [
    ("fm.plyr.like", include_str!("../../lexicons/fm/plyr/like.json")),
    ("fm.plyr.list", include_str!("../../lexicons/fm/plyr/list.json")),
    ("fm.plyr.track", include_str!("../../lexicons/fm/plyr/track.json")),
    ("fm.plyr.actor.profile", include_str!("../../lexicons/fm/plyr/actor/profile.json")),
    ("fm.plyr.feed.getLikeStatuses", include_str!("../../lexicons/fm/plyr/feed/getLikeStatuses.json")),
    ("fm.plyr.feed.getTrackLikes", include_str!("../../lexicons/fm/plyr/feed/getTrackLikes.json")),
    ("fm.plyr.feed.getActorLikes", include_str!("../../lexicons/fm/plyr/feed/getActorLikes.json")),
    ("fm.plyr.feed.getTracks", include_str!("../../lexicons/fm/plyr/feed/getTracks.json")),
    ("fm.plyr.graph.getActorLists", include_str!("../../lexicons/fm/plyr/graph/getActorLists.json")),
    ("fm.plyr.graph.getList", include_str!("../../lexicons/fm/plyr/graph/getList.json")),
];

/// The same in another namespace: every `fm.plyr.` in them becomes that of the namespace.
pub fn in_namespace(namespace: &str) -> Vec<(String, String)> {
    let rename = |text: &str| text.replace("fm.plyr.", &format!("{namespace}."));
    ALL.into_iter().map(|(nsid, json)| (rename(nsid), rename(json))).collect()
}
