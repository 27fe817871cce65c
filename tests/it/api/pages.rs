//! Pages: stable, bounded, closed to other queries; tracks, likers, artists, lists.

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{Api, CID, Known, ids, json_of, tid};

/// Follows a route's cursor to the end; answers what `read` finds on each page.
async fn walk<T>(api: &Api, path: &str, cursor_key: &str, read: impl Fn(&Value) -> Vec<T>) -> Vec<T> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut found = Vec::new();
    let mut next = path.to_owned();
    for _ in 0..1000 {
        let page = api.ok(&next).await;
        found.extend(read(&page));
        match page[cursor_key].as_str() {
            Some(cursor) => next = format!("{path}{joint}cursor={cursor}"),
            None => return found,
        }
    }
    panic!("{path} never ends");
}

async fn tracks(api: &Api, artist: &Known, seconds: impl IntoIterator<Item = i64>) -> Vec<Known> {
    let mut tracks = Vec::new();
    for second in seconds {
        tracks.push(api.track(artist, second).await);
    }
    tracks
}

#[tokio::test]
async fn track_as_the_contract_says() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let guest = api.actor("guest").await;
    let track = api.track(&artist, 5).await;
    sqlx::query("INSERT INTO profiles (actor_id, rev, indexed_at, cid, avatar, bio) VALUES ($1, 1, now(), 'x', 'https://a/b', 'Hi')")
        .bind(artist.id)
        .execute(api.pool())
        .await
        .unwrap();
    sqlx::query(
        "UPDATE tracks SET features = ARRAY[$2, 'did:plc:absent'], labels = '{loud}', duration = 61 WHERE id = $1",
    )
    .bind(track.id)
    .bind(&guest.name)
    .execute(api.pool())
    .await
    .unwrap();
    let shown = api.ok(&format!("/tracks/{}", track.id)).await;
    let cid = shown["atproto_record_cid"].as_str().unwrap().to_owned();
    assert!(cid.starts_with("bafyrei"));
    assert_eq!(
        shown,
        json!({
            "id": track.id, "title": "Track 5", "artist": "The artist", "artist_did": artist.name,
            "artist_handle": "artist.test", "artist_avatar_url": "https://a/b", "album": null, "duration": 61,
            "image_url": null, "audio_url": null,
            "features": [
                {"did": guest.name, "handle": "guest.test", "display_name": null},
                {"did": "did:plc:absent", "handle": null, "display_name": null},
            ],
            "description": null, "labels": ["loud"], "atproto_record_uri": track.name, "atproto_record_cid": cid,
            "created_at": "2026-01-01T00:00:05Z", "like_count": 0, "liked": false,
        })
    );
    assert_eq!(api.ok(&format!("/tracks/by-uri?uri={}", track.name)).await, shown);
    let by_handle = track.name.replace(&artist.name, "Artist.TEST").replace('/', "%2F");
    assert_eq!(api.ok(&format!("/tracks/by-uri?uri={by_handle}")).await, shown);
    let mentioned = api.unknown_track(&artist, 99).await;
    for path in
        [format!("/tracks/{}", mentioned.id), "/tracks/424242".into(), format!("/tracks/by-uri?uri={}", mentioned.name)]
    {
        assert_eq!(api.refused(&path, 404).await, json!({"detail": "track not found"}));
    }
    for path in ["/tracks/abc", "/tracks/9223372036854775808", "/tracks/by-uri", "/tracks/by-uri?uri=http://x"] {
        api.refused(path, 422).await;
    }
    let card = api.ok(&format!("/artists/{}", artist.name)).await;
    assert_eq!((&card["avatar_url"], &card["bio"]), (&json!("https://a/b"), &json!("Hi")));
    api.refused("/artists/did:plc:absent", 404).await;
}

#[tokio::test]
async fn r2_pages_of_tracks_stay_stable() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    // Thirty tracks in ten seconds: three of each time.
    let mut made = Vec::new();
    for number in 0..30 {
        let track = api.track(&artist, number).await;
        sqlx::query("UPDATE tracks SET sort_at = timestamptz '2026-01-01Z' + make_interval(secs => $2) WHERE id = $1")
            .bind(track.id)
            .bind(number / 3)
            .execute(api.pool())
            .await
            .unwrap();
        made.push(track);
    }
    let expected: Vec<i64> = made.iter().rev().map(|track| track.id).collect();
    for path in
        ["/tracks/?limit=7", "/tracks/?limit=7&artist_did=did:plc:artist", "/artists/did:plc:artist/tracks?limit=7"]
    {
        assert_eq!(walk(&api, path, "next_cursor", ids).await, expected, "{path}");
    }
    // What comes in front does not move what follows; what goes is missed and nothing else.
    let first = api.ok("/tracks/?limit=7").await;
    assert_eq!(first["has_more"], true);
    api.track(&artist, 100).await;
    let gone = [made[22].id, made[23].id, made[10].id];
    sqlx::query("UPDATE tracks SET title = NULL, sort_at = NULL WHERE id = ANY ($1)")
        .bind(gone)
        .execute(api.pool())
        .await
        .unwrap();
    let rest_path = format!("/tracks/?limit=100&cursor={}", first["next_cursor"].as_str().unwrap());
    let rest = api.ok(&rest_path).await;
    let kept: Vec<i64> = expected[7..].iter().copied().filter(|id| !gone.contains(id)).collect();
    assert_eq!(ids(&rest), kept);
    assert_eq!((&rest["has_more"], &rest["next_cursor"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn r2_pages_of_likes_stay_stable() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    let mut likers = Vec::new();
    for number in 0..20 {
        let liker = api.actor(&format!("liker{number:02}")).await;
        // Pairs of equal times: the path decides, here the DID.
        api.like(&liker, 1000 - number, &track, 100 + number / 2).await;
        likers.push(liker);
    }
    // A second, newer record of one actor: one liker, at the place of the newer.
    api.like(&likers[3], 2000, &track, 500).await;
    let dids = |page: &Value| -> Vec<String> {
        page["users"].as_array().unwrap().iter().map(|user| user["did"].as_str().unwrap().to_owned()).collect()
    };
    let path = format!("/tracks/{}/likes?limit=3", track.id);
    let mut expected: Vec<String> = likers.iter().rev().map(|liker| liker.name.clone()).collect();
    let twice = expected.remove(16);
    expected.insert(0, twice);
    assert_eq!(walk(&api, &path, "next_cursor", dids).await, expected);
    let first = api.ok(&path).await;
    assert_eq!(first["count"], 20);
    assert_eq!(first["users"][0]["liked_at"], "2026-01-01T00:08:20Z");
    assert_eq!(first["users"][0]["handle"], "liker03.test");
    let late = api.actor("late").await;
    api.like(&late, 3000, &track, 900).await;
    api.unlike(&likers[18], 1000 - 18).await;
    api.unlike(&likers[17], 1000 - 17).await;
    let path = format!("/tracks/{}/likes?limit=100&cursor={}", track.id, first["next_cursor"].as_str().unwrap());
    let rest = api.ok(&path).await;
    assert_eq!(dids(&rest), [&expected[4..]].concat().into_iter().collect::<Vec<_>>());
    assert_eq!(rest["count"], 19);
    api.refused("/tracks/424242/likes", 404).await;
}

#[tokio::test]
async fn r2_pages_of_one_actors_likes_stay_stable() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let liker = api.actor("liker").await;
    let tracks = tracks(&api, &artist, 0..12).await;
    for (number, track) in (0_i64..).zip(&tracks) {
        api.like(&liker, 100 + number, track, number / 3).await;
    }
    let unknown = api.unknown_track(&artist, 77).await;
    api.like(&liker, 200, &unknown, 5000).await;
    api.like(&liker, 201, &tracks[4], 6000).await;
    let mut expected: Vec<i64> = tracks.iter().rev().map(|track| track.id).collect();
    expected.retain(|id| *id != tracks[4].id);
    expected.insert(0, tracks[4].id);
    let path = "/users/liker.test/likes?limit=5";
    assert_eq!(walk(&api, path, "next_cursor", ids).await, expected);
    let first = api.ok(path).await;
    assert_eq!((&first["count"], &first["user"]["did"]), (&json!(12), &json!(liker.name)));
    api.unlike(&liker, 110).await;
    api.like(&liker, 300, &tracks[0], 7000).await;
    let rest =
        api.ok(&format!("/users/liker.test/likes?limit=100&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    // The first track was liked again in the meantime and stands in front now.
    let kept: Vec<i64> = expected[5..].iter().copied().filter(|id| *id != tracks[0].id).collect();
    assert_eq!(ids(&rest), kept);
    // By records, not by tracks: also of the unknown one and both of the twice liked.
    let uris = |page: &Value| -> Vec<String> {
        page["likes"].as_array().unwrap().iter().map(|like| like["uri"].as_str().unwrap().to_owned()).collect()
    };
    let records = walk(&api, "/xrpc/fm.plyr.feed.getActorLikes?actor=liker.test&limit=4", "cursor", uris).await;
    assert_eq!(records.len(), 14);
    assert_eq!(records.iter().collect::<HashSet<_>>().len(), 14);
    assert_eq!(records[2], format!("at://{}/fm.plyr.like/{}", liker.name, tid(200)));
}

#[tokio::test]
async fn popular_tracks_come_first() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let tracks = tracks(&api, &artist, 0..6).await;
    for (number, likes) in [(0_usize, 2), (1, 0), (2, 3), (3, 2), (4, 1), (5, 0)] {
        sqlx::query("UPDATE track_counts SET like_count = $2 WHERE track_id = $1")
            .bind(tracks[number].id)
            .bind(likes)
            .execute(api.pool())
            .await
            .unwrap();
    }
    // Many more that were mentioned and never came do not end the page early.
    for number in 100..130 {
        let mentioned = api.unknown_track(&artist, number).await;
        let liked = "UPDATE track_counts SET like_count = 1 WHERE track_id = $1";
        sqlx::query(liked).bind(mentioned.id).execute(api.pool()).await.unwrap();
    }
    let expected = [2_usize, 3, 0, 4, 5, 1].map(|number| tracks[number].id);
    assert_eq!(walk(&api, "/tracks/?sort=popular&limit=2", "next_cursor", ids).await, expected);
    let path = "/tracks/?sort=popular&limit=4&artist_did=ARTIST.test";
    assert_eq!(walk(&api, path, "next_cursor", ids).await, expected);
    assert_eq!(ids(&api.ok("/tracks/?artist_did=did:plc:absent&sort=popular").await), Vec::<i64>::new());
    api.refused("/tracks/?sort=random", 422).await;
}

#[tokio::test]
async fn r3_cursors_are_closed() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let tracks = tracks(&api, &artist, 0..3).await;
    let liker = api.actor("liker").await;
    for (number, track) in (0..).zip(&tracks) {
        api.like(&liker, number, track, number).await;
        api.like(&artist, number, track, number).await;
    }
    let page = api.ok("/tracks/?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    api.ok(&format!("/tracks/?limit=2&cursor={cursor}")).await;
    // One bit of any byte.
    for at in 0..cursor.len() {
        let mut bytes = cursor.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(bytes).unwrap();
        let answer = api.refused(&format!("/tracks/?cursor={tampered}"), 400).await;
        assert!(answer["detail"].as_str().unwrap().starts_with("cursor: "), "{answer}");
    }
    for malformed in ["x", "%00", "AAAA", "%FF%FE", "===", &cursor[1..], &format!("{cursor}A"), &"A".repeat(6000)] {
        api.refused(&format!("/tracks/?cursor={malformed}"), 400).await;
    }
    for path in [
        "/tracks/?sort=popular",
        "/tracks/?artist_did=did:plc:artist",
        &format!("/tracks/{}/likes?limit=1", tracks[0].id),
        "/users/liker.test/likes?limit=1",
        "/lists?actor=liker.test",
    ] {
        let joint = if path.contains('?') { '&' } else { '?' };
        api.refused(&format!("{path}{joint}cursor={cursor}"), 400).await;
    }
    let likers = api.ok(&format!("/tracks/{}/likes?limit=1", tracks[0].id)).await;
    let cursor = likers["next_cursor"].as_str().unwrap();
    api.refused(&format!("/tracks/{}/likes?cursor={cursor}", tracks[1].id), 400).await;
    let xrpc = format!("/xrpc/fm.plyr.feed.getTrackLikes?uri={}&cursor={cursor}", tracks[0].name);
    assert_eq!(api.refused(&xrpc, 400).await["error"], "InvalidCursor");
}

#[tokio::test]
async fn r3_limits_are_bounded() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    for limit in ["0", "-1", "101", "10000", "1.5", "ten", "99999999999999999999"] {
        for path in ["/tracks/", &format!("/tracks/{}/likes", track.id), "/users/artist.test/likes"] {
            let answer = api.refused(&format!("{path}?limit={limit}"), 422).await;
            assert!(answer["detail"].as_str().unwrap().starts_with("limit: "), "{answer}");
        }
        let answer =
            api.refused(&format!("/xrpc/fm.plyr.feed.getActorLikes?actor=artist.test&limit={limit}"), 400).await;
        assert_eq!(answer["error"], "InvalidRequest");
        assert!(answer["message"].as_str().unwrap().starts_with("limit: "), "{answer}");
    }
    api.ok("/tracks/?limit=100&cursor=").await;
    api.ok("/tracks?limit=1").await;
}

#[tokio::test]
async fn lists_in_the_owners_order() {
    let api = Api::start().await;
    let owner = api.actor("owner").await;
    let tracks = tracks(&api, &owner, 0..3).await;
    let unknown = api.unknown_track(&owner, 9).await;
    let foreign = Known { id: 0, name: "at://did:plc:other/app.bsky.feed.post/self".into() };
    api.list(&owner, 5, "playlist", &[&tracks[2], &unknown, &foreign, &tracks[0], &tracks[2]]).await;
    api.list(&owner, 6, "album", &[]).await;
    let uri = format!("at://{}/fm.plyr.list/{}", owner.name, tid(5));
    let list = api.ok(&format!("/lists/by-uri?uri={uri}")).await;
    let uris: Vec<&str> = list["items"].as_array().unwrap().iter().map(|item| item["uri"].as_str().unwrap()).collect();
    assert_eq!(uris, [&tracks[2].name, &unknown.name, &foreign.name, &tracks[0].name, &tracks[2].name]);
    assert_eq!(list["items"][0]["cid"], CID);
    assert_eq!(list["items"][4]["track"]["id"], tracks[2].id);
    assert_eq!((&list["items"][1]["track"], &list["items"][2]["track"]), (&Value::Null, &Value::Null));
    let names = |page: &Value| -> Vec<String> {
        page["lists"].as_array().unwrap().iter().map(|list| list["uri"].as_str().unwrap().to_owned()).collect()
    };
    let both = walk(&api, "/lists?actor=Owner.test&limit=1", "next_cursor", names).await;
    assert_eq!(both, [uri.replace(&tid(5), &tid(6)), uri.clone()]);
    assert_eq!(walk(&api, "/lists?actor=did:plc:owner&type=playlist", "next_cursor", names).await, both[1..]);
    assert_eq!(walk(&api, "/lists/?actor=did:plc:absent", "next_cursor", names).await, Vec::<String>::new());
    let missing = uri.replace(&tid(5), &tid(8));
    for gone in [missing.as_str(), tracks[0].name.as_str(), "at://absent.test/fm.plyr.list/2222222222222"] {
        api.refused(&format!("/lists/by-uri?uri={gone}"), 404).await;
    }
    assert_eq!(api.refused("/lists", 422).await["detail"], "actor: is missing");
    let token = api.token(&owner).await;
    let none = api.request(Method::GET, "/lists/liked").bearer_auth(&token).send().await.unwrap();
    json_of(none, StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn r7_actors_by_any_name() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.like(&artist, 7, &track, 9).await;
    for name in [
        "did:plc:artist",
        "did%3Aplc%3Aartist",
        "artist.test",
        "ARTIST.Test",
        "@artist.test",
        "%61rtist%2Etest",
        "%40artist.test",
    ] {
        assert_eq!(ids(&api.ok(&format!("/users/{name}/likes")).await), [track.id], "{name}");
        assert_eq!(ids(&api.ok(&format!("/artists/{name}/tracks")).await), [track.id], "{name}");
        assert_eq!(api.ok(&format!("/artists/{name}")).await["did"], artist.name, "{name}");
        let likes = api.ok(&format!("/xrpc/fm.plyr.feed.getActorLikes?actor={name}")).await;
        assert_eq!(likes["likes"][0]["subject"], json!({"uri": track.name, "cid": CID}), "{name}");
    }
    let absent = api.ok("/users/did:plc:absent/likes").await;
    assert_eq!((&absent["count"], &absent["user"]["handle"]), (&json!(0), &Value::Null));
    api.refused("/users/absent.test/likes", 404).await;
    // A DID is what it is in every letter, and a percent sign of its own must be encoded.
    for name in ["DID:PLC:artist", "did:plc:", "no-dots", "a b.test", "%00.test"] {
        api.refused(&format!("/users/{name}/likes"), 422).await;
    }
    sqlx::query("INSERT INTO actors (did) VALUES ('did:web:localhost%3A2583')").execute(api.pool()).await.unwrap();
    assert_eq!(api.ok("/artists/did:web:localhost%253A2583").await["did"], "did:web:localhost%3A2583");
}
