//! Who may ask, and the questions about likes: the batch, the viewer's own, sessions, and what would write.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::api::{Api, Known, ids, json_of};

/// An actor who likes the first and the third of four tracks, with a token.
async fn liker_of_two(api: &Api) -> (Known, String, Vec<Known>) {
    let artist = api.actor("artist").await;
    let liker = api.actor("liker").await;
    let mut tracks = Vec::new();
    for second in 1..=4 {
        tracks.push(api.track(&artist, second).await);
    }
    api.like(&liker, 10, &tracks[0], 100).await;
    api.like(&liker, 11, &tracks[2], 101).await;
    let token = api.token(&liker).await;
    (liker, token, tracks)
}

#[tokio::test]
async fn r1_batch_answers_every_id_once_in_order() {
    let api = Api::start().await;
    let (liker, token, tracks) = liker_of_two(&api).await;
    let [a, b, c, _] = [0, 1, 2, 3].map(|at: usize| tracks[at].id);
    let asked = format!("{{\"track_ids\":[{c},{b},{a},{c},-5,999999,{},{}]}}", i64::MAX, i64::MIN);
    let answer = api.batch(&token, &asked).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let text = answer.text().await.unwrap();
    let expected = format!(
        "{{\"{c}\":true,\"{b}\":false,\"{a}\":true,\"-5\":false,\"999999\":false,\"{}\":false,\"{}\":false}}",
        i64::MAX,
        i64::MIN
    );
    assert_eq!(text, expected);
    // A second record of the same like changes nothing; taking one of the two back neither.
    api.like(&liker, 12, &tracks[0], 102).await;
    let asked = format!("{{\"track_ids\":[{a}]}}");
    assert_eq!(api.batch(&token, &asked).await.text().await.unwrap(), format!("{{\"{a}\":true}}"));
    api.unlike(&liker, 10).await;
    assert_eq!(api.batch(&token, &asked).await.text().await.unwrap(), format!("{{\"{a}\":true}}"));
    api.unlike(&liker, 12).await;
    assert_eq!(api.batch(&token, &asked).await.text().await.unwrap(), format!("{{\"{a}\":false}}"));
}

/// An actor with few likes is answered out of one stretch of the index, one with many track by track.
#[tokio::test]
async fn r1_batch_knows_every_like_of_few_and_of_many() {
    let api = Api::start().await;
    let liker = api.actor("liker").await;
    let token = api.token(&liker).await;
    let tracks = "INSERT INTO tracks (uri, artist_id) SELECT 'at://did:plc:artist/fm.plyr.track/' || n, $1
        FROM generate_series(1, 300) AS n RETURNING id";
    let ids: Vec<i64> = sqlx::query_scalar(tracks).bind(liker.id).fetch_all(api.pool()).await.unwrap();
    let more = "INSERT INTO likes (actor_id, rkey, rev, indexed_at, subject_id, sort_at)
        SELECT $1, id, id, now(), id, now() FROM unnest($2::bigint[]) AS t (id)";
    let mut liked = 0;
    for count in [1, 255, 256, 257, 258, 299] {
        sqlx::query(more).bind(liker.id).bind(&ids[liked..count]).execute(api.pool()).await.unwrap();
        liked = count;
        let answer = api.batch(&token, &json!({"track_ids": ids}).to_string()).await;
        let answer = json_of(answer, StatusCode::OK).await;
        let shown: Vec<bool> = ids.iter().map(|id| answer[id.to_string()].as_bool().unwrap()).collect();
        let wanted: Vec<bool> = (0..ids.len()).map(|place| place < count).collect();
        assert_eq!(shown, wanted, "{count} likes");
    }
}

#[tokio::test]
async fn r1_batch_bounds() {
    let api = Api::start().await;
    let (_, token, _) = liker_of_two(&api).await;
    let many = |count: i64| format!("{{\"track_ids\":{:?}}}", (0..count).collect::<Vec<_>>());
    assert_eq!(api.batch(&token, "{\"track_ids\":[]}").await.text().await.unwrap(), "{}");
    assert_eq!(json_of(api.batch(&token, &many(101)).await, StatusCode::OK).await.as_object().unwrap().len(), 101);
    assert_eq!(json_of(api.batch(&token, &many(500)).await, StatusCode::OK).await.as_object().unwrap().len(), 500);
    // A number without a fraction is whole, however it is written.
    let floats = api.batch(&token, "{\"track_ids\":[1.0,-2e3,9.007199254740992e15]}").await;
    assert_eq!(floats.text().await.unwrap(), "{\"1\":true,\"-2000\":false,\"9007199254740992\":false}");
    for (body, status) in [
        ("{\"track_ids\":[1e300]}", 422),
        (many(501).as_str(), 422),
        ("{\"track_ids\":[9223372036854775808]}", 422),
        ("{\"track_ids\":[1e400]}", 400),
        ("{\"track_ids\":[1.5]}", 422),
        ("{\"track_ids\":[\"1\"]}", 422),
        ("{\"track_ids\":null}", 422),
        ("{}", 422),
        ("[1]", 422),
        ("not JSON", 400),
        ("", 400),
        (&" ".repeat(65 * 1024), 413),
    ] {
        let answer = json_of(api.batch(&token, body).await, StatusCode::from_u16(status).unwrap()).await;
        let detail = answer["detail"].as_str().unwrap();
        assert!(status != 422 || detail.contains("track_ids"), "{body}: {detail}");
    }
}

#[tokio::test]
async fn sessions_that_do_not_stand_are_refused() {
    let api = Api::start().await;
    let (liker, token, tracks) = liker_of_two(&api).await;
    let (expired, _) = api.token_until(&liker, "2026-06-01T12:00:00Z").await;
    let (revoked, session) = api.token_until(&liker, "2026-07-01T00:00:00Z").await;
    let mut connection = api.pool().acquire().await.unwrap();
    let now = crate::support::api::now();
    assert!(plyr_likes::store::sessions::revoke_session(&mut connection, session, now).await.unwrap());
    assert!(!plyr_likes::store::sessions::revoke_session(&mut connection, session, now).await.unwrap());
    for bad in [expired.as_str(), revoked.as_str(), "unknown", ""] {
        assert_eq!(api.batch(bad, "{\"track_ids\":[]}").await.status(), StatusCode::UNAUTHORIZED, "{bad}");
        // Also where no viewer is needed: a client with a bad token learns that it is bad.
        for path in ["/tracks/", "/tracks/liked", "/artists/me", "/lists/liked"] {
            let answer = api.request(Method::GET, path).bearer_auth(bad).send().await.unwrap();
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            json_of(answer, StatusCode::UNAUTHORIZED).await;
        }
    }
    let anonymous = api.request(Method::POST, "/tracks/likes/batch").body("{\"track_ids\":[1]}").send().await.unwrap();
    json_of(anonymous, StatusCode::UNAUTHORIZED).await;
    let basic = api.request(Method::GET, "/tracks/").basic_auth("liker", Some("x")).send().await.unwrap();
    json_of(basic, StatusCode::UNAUTHORIZED).await;
    // A browser's stale cookie is no viewer; a good one is its owner.
    let cookie = |value: &str| format!("a=b; session_id={value}; c=d");
    let stale = api.request(Method::GET, "/tracks/").header("cookie", cookie(&expired)).send().await.unwrap();
    assert_eq!(json_of(stale, StatusCode::OK).await["tracks"][1]["liked"], false);
    let good = api.request(Method::GET, "/tracks/").header("cookie", cookie(&token)).send().await.unwrap();
    assert_eq!(json_of(good, StatusCode::OK).await["tracks"][1]["liked"], true);
    assert_eq!(api.ok_as(&token, "/artists/me").await["did"], liker.name);
    assert_eq!(api.ok_as(&token, &format!("/tracks/{}", tracks[2].id)).await["liked"], true);
    let sessions = plyr_likes::store::sessions::list_sessions(&mut connection).await.unwrap();
    assert_eq!(sessions.len(), 3);
    assert!(sessions.iter().all(|session| session.did.as_str() == liker.name && !session.may_write));
    assert_eq!(sessions.iter().filter(|session| session.revoked_at.is_some()).count(), 1);
}

#[tokio::test]
async fn writes_need_more_than_a_reading_token() {
    let api = Api::start().await;
    let (_, token, tracks) = liker_of_two(&api).await;
    let like = format!("/tracks/{}/like", tracks[0].id);
    for (method, path) in [
        (Method::POST, like.as_str()),
        (Method::DELETE, like.as_str()),
        (Method::PUT, "/lists/liked/reorder"),
        (Method::POST, "/preferences/"),
    ] {
        let anonymous = api.request(method.clone(), path).send().await.unwrap();
        json_of(anonymous, StatusCode::UNAUTHORIZED).await;
        let reader = api.request(method, path).bearer_auth(&token).send().await.unwrap();
        assert_eq!(json_of(reader, StatusCode::FORBIDDEN).await, json!({"detail": "this token may only read"}));
    }
}

#[tokio::test]
async fn liked_in_the_owners_order() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let liker = api.actor("liker").await;
    let mut tracks = Vec::new();
    for second in 0..8 {
        tracks.push(api.track(&artist, second).await);
    }
    // Liked in the order of their numbers; 7 is liked and its record is not there; 5 is listed and not liked.
    for at in [0, 1, 2, 3, 4, 6, 7] {
        api.like(&liker, 10 + i64::try_from(at).unwrap(), &tracks[at], 100 + i64::try_from(at).unwrap()).await;
    }
    sqlx::query("UPDATE tracks SET title = NULL WHERE id = $1").bind(tracks[7].id).execute(api.pool()).await.unwrap();
    let token = api.token(&liker).await;
    let id = |at: usize| tracks[at].id;
    let recent = api.ok_as(&token, "/tracks/liked?order=recent").await;
    assert_eq!(ids(&recent), [6, 4, 3, 2, 1, 0].map(id));
    // Without a list the order is that of the likes.
    assert_eq!(ids(&api.ok_as(&token, "/tracks/liked").await), [6, 4, 3, 2, 1, 0].map(id));
    let t = |at: usize| &tracks[at];
    api.list(&liker, 50, "liked", &[t(2), t(5), t(0), t(2), t(7), t(4), t(1)]).await;
    api.list(&liker, 49, "playlist", &[t(6)]).await;
    let all = [6, 3, 2, 0, 4, 1].map(id);
    let custom = api.ok_as(&token, "/tracks/liked?order=custom").await;
    assert_eq!(ids(&custom), all);
    assert!(custom["tracks"].as_array().unwrap().iter().all(|track| track["liked"] == true));
    let mut walked = Vec::new();
    let mut path = "/tracks/liked?limit=1".to_owned();
    loop {
        let page = api.ok_as(&token, &path).await;
        walked.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/tracks/liked?limit=1&cursor={cursor}");
    }
    assert_eq!(walked, all);
    // A page goes on behind the last track shown, also when the list has been put in another order in between.
    let first = api.ok_as(&token, "/tracks/liked?limit=4").await;
    assert_eq!(ids(&first), all[..4]);
    api.list(&liker, 50, "liked", &[t(6), t(3), t(2), t(0), t(1), t(4)]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.ok_as(&token, &format!("/tracks/liked?limit=4&cursor={cursor}")).await;
    assert_eq!(ids(&second), [1, 4].map(id));
    let list = api.ok_as(&token, "/lists/liked").await;
    assert_eq!(list["list_type"], "liked");
    assert_eq!(list["item_count"], 6);
    assert_eq!(list["items"][1]["uri"], tracks[3].name);
    assert_eq!(list["items"][1]["track"]["liked"], true);
    // A cursor is one viewer's and one order's.
    let other = api.token(&artist).await;
    for (token, order) in [(&other, "custom"), (&token, "recent")] {
        let path = format!("/tracks/liked?order={order}&cursor={cursor}");
        let answer = api.request(Method::GET, &path).bearer_auth(token).send().await.unwrap();
        json_of(answer, StatusCode::BAD_REQUEST).await;
    }
}
