//! `PLYR_VERIFY=reject`: a commit that fails verification is not applied, whatever it holds, and its bytes are kept.

use std::collections::BTreeSet;

use ipld_core::{cid::Cid, ipld::Ipld};
use sqlx::PgPool;

use super::{Directory, Fixture, REV, count_likes, did, like, outcomes, serve, stage};
use crate::{
    pipeline::{decode::verify::blocks_of, wire::set},
    support::{
        model::tid_text,
        process::Process,
        program::{Program, Settings, child},
        repo::{Repo, Write, car, encode, map},
        run,
    },
};

const TRACK: &str = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/3l3pte3p2e325";

/// What is kept of the rejects: the reason, and whether it is of a record.
async fn rejects(pool: &PgPool) -> Vec<(String, bool)> {
    sqlx::query_as("SELECT reason, did IS NOT NULL FROM rejects ORDER BY position").fetch_all(pool).await.unwrap()
}

async fn marked(pool: &PgPool) -> BTreeSet<String> {
    let dids: Vec<String> =
        sqlx::query_scalar("SELECT did FROM gaps WHERE reason = 'proof'").fetch_all(pool).await.unwrap();
    dids.into_iter().collect()
}

async fn position(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT coalesce(max(value), 0) FROM positions").fetch_one(pool).await.unwrap()
}

async fn until_position(program: &Program, pool: &PgPool, wanted: i64) {
    program
        .wait_until("all is applied or refused", async |_| match position(pool).await {
            value if value == wanted => Ok(()),
            value => Err(format!("position {value} of {wanted}")),
        })
        .await;
}

/// The likes that are live, as owner and rev.
async fn live(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT did, rev - $1 FROM likes JOIN actors ON actors.id = actor_id WHERE subject_id IS NOT NULL ORDER BY did, rev",
    )
    .bind(REV)
    .fetch_all(pool)
    .await
    .unwrap()
}

fn blocks_changed(mut payload: Ipld, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Ipld {
    let Ipld::Map(fields) = &payload else { panic!("a map") };
    let (Ipld::Bytes(slice), Ipld::Link(root)) = (&fields["blocks"], &fields["commit"]) else { panic!("a commit") };
    let (root, mut blocks): (Cid, _) = (*root, blocks_of(slice));
    change(&mut blocks);
    set(&mut payload, "blocks", Ipld::Bytes(car(root, &blocks)));
    payload
}

/// One byte of the slice flipped, so many before its end.
fn flipped(mut payload: Ipld, before_end: usize) -> Ipld {
    let Ipld::Map(fields) = &mut payload else { panic!("a map") };
    let Some(Ipld::Bytes(slice)) = fields.get_mut("blocks") else { panic!("a slice") };
    let at = slice.len() - before_end;
    slice[at] ^= 1;
    payload
}

fn with_an_operation_more(mut payload: Ipld) -> Ipld {
    let Ipld::Map(fields) = &mut payload else { panic!("a map") };
    let Some(Ipld::List(operations)) = fields.get_mut("ops") else { panic!("a list") };
    let mut more = operations[0].clone();
    set(&mut more, "path", format!("fm.plyr.like/{}", tid_text(REV + 77)).into());
    operations.push(more);
    payload
}

/// Commits that an attacker without the key, or with an old repo, might send in the name of an owner who has one like.
fn forgeries(owner: &str, first: i64) -> Vec<Ipld> {
    let path = format!("fm.plyr.like/{}", tid_text(first));
    let no_like = encode(&map([("$type", "fm.plyr.like".into()), ("createdAt", "never".into())]));
    let writes: [Write<'_>; 2] = [(&path, None), (&path, Some(no_like))];
    writes
        .into_iter()
        .map(|write| {
            let mut forger = Repo::new(owner, 99);
            like(&mut forger, first, "fm.plyr.like");
            forger.commit(first + 10, &[write])
        })
        .collect()
}

#[tokio::test]
async fn a_commit_that_fails_verification_is_never_shown_and_those_around_it_are_applied() {
    let directory = Directory::start().await;
    let letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    let mut repos = letters.map(|letter| Repo::new(&did(letter), u8::try_from(u32::from(letter)).unwrap()));
    let [good, forged, flipped_record, flipped_commit, missing, misstated, before, unsigned] = &mut repos;
    for repo in [&*good, flipped_record, flipped_commit, missing, misstated, before, unsigned] {
        directory.add(repo);
    }
    directory.add(&Repo::new(&did('b'), 30));
    let mut payloads = vec![like(good, REV, "fm.plyr.like"), like(forged, REV, "fm.plyr.like")];
    let another_past = Ipld::Link(forged.data());
    payloads.extend(forgeries(&did('a'), REV));
    payloads.push(flipped(like(flipped_record, REV, "fm.plyr.like"), 1));
    payloads.push(like(good, REV + 20, "fm.plyr.like"));
    payloads.push(flipped(like(flipped_commit, REV, "fm.plyr.like"), 400));
    payloads.push(blocks_changed(like(missing, REV, "fm.plyr.like"), |blocks| drop(blocks.remove(1))));
    payloads.push(with_an_operation_more(like(misstated, REV, "fm.plyr.like")));
    let mut of_another_past = like(before, REV, "fm.plyr.like");
    set(&mut of_another_past, "prevData", another_past);
    payloads.push(of_another_past);
    payloads.push(blocks_changed(like(unsigned, REV, "fm.plyr.like"), |blocks| drop(blocks.remove(0))));
    payloads.push(like(good, REV + 21, "fm.plyr.like"));
    // No key is looked up for a collection that is not ours.
    payloads.push(like(&mut Repo::new(&did('z'), 26), REV, "app.example.like"));
    let count = i64::try_from(payloads.len()).unwrap();

    let (program, pool, fixture) = serve(payloads, &directory, &[], "reject").await;
    until_position(&program, &pool, count).await;
    assert_eq!(live(&pool).await, [0, 20, 21].map(|rev| (did('a'), rev)));
    let words = ["signature", "signature", "signature"].into_iter().chain(["unproven"; 6]);
    let expected: Vec<(String, bool)> = words.map(|word| (word.to_owned(), false)).collect();
    let mut found = rejects(&pool).await;
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(marked(&pool).await, letters.into_iter().map(did).collect());
    let outcomes = outcomes(&program).await;
    assert_eq!(
        (outcomes["verified"], outcomes["signature"], outcomes.values().sum::<u64>()),
        (3, 3, 12),
        "{outcomes:?}"
    );
    assert_eq!(directory.asked(&did('z')), 0);
    let answer = program.get("/xrpc/fm.plyr.feed.getTrackLikes", &[("uri", TRACK)]).await.unwrap();
    assert_eq!(answer["count"], 1);

    // Retried, they fail verification again, whatever the setting says by now.
    for verify in ["reject", "on", "off"] {
        assert_eq!(retry(&fixture, &directory, verify).await, "applied=0 ignored=0 refused=9 cut=0\n", "{verify}");
    }
    assert_eq!(live(&pool).await.len(), 3);
    program.terminate();
}

/// What the operator's command prints that retries everything.
async fn retry(fixture: &Fixture, directory: &Directory, verify: &str) -> String {
    let settings = Settings::new()
        .with("DATABASE_URL", &fixture.database.url)
        .with("PLYR_PLC_URL", &directory.url)
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true")
        .with("PLYR_VERIFY", verify);
    let ran = tokio::task::spawn_blocking(move || settings.run(&["rejects", "retry", "--all"]));
    String::from_utf8(ran.await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_rotated_key_is_fetched_again_once() {
    let directory = Directory::start().await;
    let (old, mut rotated) = (Repo::new(&did('b'), 20), Repo::new(&did('b'), 2));
    directory.add(&rotated);
    let payloads = (0..3).map(|at| like(&mut rotated, REV + at, "fm.plyr.like")).collect();
    let (program, pool, _fixture) = serve(payloads, &directory, &[(&old, "1 hour")], "reject").await;
    until_position(&program, &pool, 3).await;
    assert_eq!((count_likes(&pool).await, rejects(&pool).await, marked(&pool).await), (3, vec![], BTreeSet::new()));
    assert!(directory.asked(&did('b')) >= 1, "the old key was not fetched again");
    program.terminate();
}

#[tokio::test]
async fn a_commit_whose_key_was_unavailable_is_applied_when_it_is_retried() {
    let directory = Directory::start().await;
    let (mut known, mut late, mut forged) = (Repo::new(&did('a'), 1), Repo::new(&did('b'), 2), Repo::new(&did('c'), 3));
    directory.add(&late);
    directory.add(&Repo::new(&did('c'), 30));
    directory.go_away(true);
    // Two likes, and something that is none: it becomes a reject of its own.
    let paths = [1, 2, 3].map(|at| format!("fm.plyr.like/{}", tid_text(REV + at)));
    let subject =
        map([("uri", TRACK.into()), ("cid", "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a".into())]);
    let record = |subject| {
        let fields = [("$type", "fm.plyr.like".into()), ("createdAt", "2026-07-04T12:00:00.000Z".into()), subject];
        Some(encode(&map(fields)))
    };
    let writes = [
        (paths[0].as_str(), record(("subject", subject.clone()))),
        (paths[1].as_str(), record(("subject", "nothing".into()))),
        (paths[2].as_str(), record(("subject", subject))),
    ];
    let payloads = vec![
        late.commit(REV + 1, &writes),
        like(&mut known, REV, "fm.plyr.like"),
        like(&mut forged, REV, "fm.plyr.like"),
    ];
    let (program, pool, fixture) = serve(payloads, &directory, &[(&known, "1 minute")], "reject").await;
    until_position(&program, &pool, 3).await;
    assert_eq!(live(&pool).await, [(did('a'), 0)]);
    let key_unknown = || ("key_unknown".to_owned(), false);
    assert_eq!(rejects(&pool).await, [key_unknown(), key_unknown()]);
    assert_eq!(marked(&pool).await, BTreeSet::from([did('b'), did('c')]));

    assert_eq!(retry(&fixture, &directory, "on").await, "applied=0 ignored=0 refused=2 cut=0\n", "it is away still");
    directory.go_away(false);
    assert_eq!(
        retry(&fixture, &directory, "on").await,
        "applied=1 ignored=0 refused=2 cut=0\n",
        "the forged one, and what is no like"
    );
    assert_eq!(live(&pool).await, [(did('a'), 0), (did('b'), 1), (did('b'), 1)]);
    assert_eq!(rejects(&pool).await, [("lexicon".to_owned(), true), key_unknown()]);
    program.terminate();
}

/// The directory does not answer for one DID, for longer than the stream waits for a key.
#[tokio::test]
async fn a_host_that_does_not_answer_keeps_the_stream_for_seconds_and_its_order_for_ever() {
    let directory = Directory::start().await;
    let (mut known, mut slow) = (Repo::new(&did('a'), 1), Repo::new(&did('b'), 2));
    directory.add(&slow);
    directory.keep_silent(&did('b'), true);
    let mut payloads = vec![like(&mut slow, REV, "fm.plyr.like")];
    payloads.extend((0..5).map(|at| like(&mut known, REV + at, "fm.plyr.like")));
    let (program, pool, fixture) = serve(payloads, &directory, &[(&known, "1 minute")], "reject").await;
    program
        .wait_until(
            "the host is asked",
            async |_| {
                if directory.waiting() > 0 { Ok(()) } else { Err("not yet".to_owned()) }
            },
        )
        .await;
    assert_eq!(
        (position(&pool).await, count_likes(&pool).await),
        (0, 0),
        "a commit that is not verified yet was passed"
    );
    until_position(&program, &pool, 6).await;
    assert_eq!(directory.waiting(), 1, "the stream goes on before the host is given up");
    assert_eq!(count_likes(&pool).await, 5);
    assert_eq!(rejects(&pool).await, [("key_unknown".to_owned(), false)]);

    directory.keep_silent(&did('b'), false);
    assert_eq!(retry(&fixture, &directory, "reject").await, "applied=1 ignored=0 refused=0 cut=0\n");
    assert_eq!(count_likes(&pool).await, 6);
    program.terminate();
}

/// Commits by two owners in turns; of the second, the directory says nothing, and the first is known.
fn in_turns(known: &mut Repo, slow: &mut Repo) -> Vec<Vec<Ipld>> {
    let before = (0..10).map(|at| like(known, REV + at, "fm.plyr.like")).collect();
    let behind = (10..30).map(|at| like(if at % 5 == 0 { slow } else { known }, REV + at, "fm.plyr.like")).collect();
    vec![before, behind]
}

#[tokio::test]
async fn s5_a_stop_or_a_crash_while_a_key_is_awaited_loses_and_refuses_nothing() {
    for is_crash in [false, true] {
        let directory = Directory::start().await;
        let (mut known, mut slow) = (Repo::new(&did('a'), 1), Repo::new(&did('b'), 2));
        directory.add(&slow);
        directory.keep_silent(&did('b'), true);
        let payloads = in_turns(&mut known, &mut slow);
        let fixture = stage(payloads, &directory, &[(&known, "1 minute")], "reject").await;
        let pool = &fixture.database.pool;
        let program = Program::serve(&fixture.settings).await;
        until_position(&program, pool, 10).await;
        fixture.upstream.go();
        program
            .wait_until(
                "the host is asked",
                async |_| {
                    if directory.waiting() > 0 { Ok(()) } else { Err("not yet".to_owned()) }
                },
            )
            .await;
        if is_crash {
            program.kill9();
        } else {
            assert!(program.terminate().success());
        }
        assert_eq!((position(pool).await, count_likes(pool).await), (10, 10), "crash: {is_crash}");
        assert_eq!((rejects(pool).await, marked(pool).await), (vec![], BTreeSet::new()));

        directory.keep_silent(&did('b'), false);
        let program = Program::serve(&fixture.settings).await;
        until_position(&program, pool, 30).await;
        assert_eq!((count_likes(pool).await, rejects(pool).await), (30, vec![]));
        program.terminate();
    }
}

/// The known keys are in the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_a_database_that_is_away_makes_no_key_unknown() {
    let directory = Directory::start().await;
    let mut known = Repo::new(&did('a'), 1);
    let payloads = (0..2).map(|at| vec![like(&mut known, REV + at, "fm.plyr.like")]).collect();
    let fixture = stage(payloads, &directory, &[(&known, "1 minute")], "reject").await;
    let pool = &fixture.database.pool;
    let (server, name) = fixture.database.url.split_once("plyr_test_").unwrap();
    let name = format!("plyr_test_{}", name.split('?').next().unwrap());
    let server = format!("{server}postgres?{}", fixture.database.url.split_once('?').unwrap().1);
    let server = PgPool::connect(&server).await.unwrap();
    let allow = async |is_there: bool| {
        let statement = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {is_there}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&server).await.unwrap();
    };

    let mut command = child::program();
    command.arg("serve").envs(fixture.settings.variables()).env("PLYR_LOG", "info,plyr_likes::ingest=debug");
    let mut process = Process::start(command);
    process.wait_for("serving");
    run::until(pool, "SELECT count(*) = 1 FROM likes").await;
    pool.close().await;
    allow(false).await;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(&name)
        .execute(&server)
        .await
        .unwrap();
    fixture.upstream.go();
    process.wait_for("a key waits for the database");
    process.wait_for("a key waits for the database");
    allow(true).await;
    let pool = PgPool::connect(&fixture.database.url).await.unwrap();
    run::until(&pool, "SELECT count(*) = 2 FROM likes").await;
    assert_eq!((rejects(&pool).await, marked(&pool).await), (vec![], BTreeSet::new()));
    assert!(process.terminate().0.success());
    pool.close().await;
}

#[test]
fn sources_that_cannot_be_verified_stop_the_start() {
    let settings = |sources: &str, standbys: &str| {
        let settings = Settings::new().with("PLYR_VERIFY", "reject").with("PLYR_SOURCES", sources);
        settings.with("PLYR_STANDBY_SOURCES", standbys)
    };
    let (firehose, jetstream) = ("firehose+ws://127.0.0.1:9", "jetstream+ws://127.0.0.1:9");
    for (sources, standbys) in [(format!("{firehose},{jetstream}"), "none"), (firehose.to_owned(), jetstream)] {
        for command in [&["serve"][..], &["index"], &[]] {
            let output = settings(&sources, standbys).try_run(command);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
            assert!(said.contains("PLYR_VERIFY") && said.contains(jetstream), "{said}");
        }
    }
    let output = settings(jetstream, "none").try_run(&["doctor"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("FAIL  settings: PLYR_VERIFY (--verify) cannot be `reject`"), "{said}");
}

#[tokio::test]
async fn many_commits_are_verified_and_none_is_lost_between_them() {
    let directory = Directory::start().await;
    let mut repos: Vec<Repo> = (0..20_u8).map(|at| Repo::new(&did(char::from(b'a' + at)), at + 1)).collect();
    let mut expected = Vec::new();
    let mut payloads = Vec::new();
    for round in 0..15 {
        for (at, repo) in repos.iter_mut().enumerate() {
            let payload = like(repo, REV + round, "fm.plyr.like");
            let is_forged = (usize::try_from(round).unwrap() + at).is_multiple_of(7);
            if is_forged {
                payloads.push(flipped(payload, 1));
            } else {
                payloads.push(payload);
                expected.push((repo.did.clone(), round));
            }
        }
    }
    for repo in &repos {
        directory.add(repo);
    }
    expected.sort();
    let count = payloads.len();
    let (program, pool, _fixture) = serve(payloads, &directory, &[], "reject").await;
    until_position(&program, &pool, i64::try_from(count).unwrap()).await;
    assert_eq!(live(&pool).await, expected);
    assert_eq!(rejects(&pool).await.len(), count - expected.len());
    assert!(count > expected.len() + 30);
    program.terminate();
}
