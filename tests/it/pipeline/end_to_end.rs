//! From a real PDS to an answer over HTTP, by the real program: what the API says is what the PDS's `listRecords` says.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::comparison::Truth;
use crate::support::network::{Account, Network, Operation, Stored, like, list, track};
use crate::support::program::{Program, Settings};

const SEED: u64 = 20_240_909;
const ACTOR_COUNT: usize = 6;
/// How many of them have tracks, and how many.
const ARTIST_COUNT: usize = 3;
const TRACK_COUNT: usize = 8;
/// Operations of one actor in one round, in one commit.
const OPERATION_COUNT: usize = 40;

const KILL_COUNT: usize = 3;

/// Settings of a program that follows the network, with a private Postgres.
fn settings_for(network: &Network) -> Settings {
    Settings::new()
        .with("PLYR_SOURCES", network.source())
        .with("PLYR_PLC_URL", &network.plc_url)
        .with("PLYR_ALLOW_PRIVATE_HOSTS", "true")
}

/// Whether an actor likes a track, by the API.
async fn is_liked(program: &Program, did: &str, uri: &str) -> Result<bool, String> {
    let query = [("actor", did), ("uris", uri)];
    let answer = program.get("/xrpc/fm.plyr.feed.getLikeStatuses", &query).await?;
    answer["statuses"][0]["liked"].as_bool().ok_or_else(|| answer.to_string())
}

async fn wait_until_liked(program: &Program, did: &str, uri: &str, expected: bool) {
    program
        .wait_until("a write on the PDS is seen", async |program| {
            let liked = is_liked(program, did, uri).await?;
            if liked == expected { Ok(()) } else { Err(format!("liked is {liked}")) }
        })
        .await;
}

/// Makes a token for a program that reads in the name of an actor.
fn create_token(settings: &Settings, did: &str) -> String {
    let output = settings.run(&["tokens", "create", "--did", did, "--expires", "30d"]);
    let stdout = String::from_utf8(output.stdout).expect("a token is text");
    stdout.split_whitespace().last().expect("the token is the last word").to_owned()
}

#[tokio::test]
async fn first_like() {
    let network = Network::start().await;
    let settings = settings_for(&network);
    let program = Program::serve(&settings).await;
    let artist = network.account("artist").await;
    let fan = network.account("fan").await;
    let song = artist.create("fm.plyr.track", track("One")).await;
    let liked = fan.create("fm.plyr.like", like(&song)).await;
    wait_until_liked(&program, &fan.did, &song.uri, true).await;

    let shown = program.get("/tracks/by-uri", &[("uri", &song.uri)]).await.expect("the track is there");
    assert_eq!((&shown["title"], &shown["like_count"]), (&"One".into(), &1.into()));
    let id = shown["id"].as_i64().expect("a track has an id");
    let token = create_token(&settings, &fan.did);
    let ask = json!({"track_ids": [id, id + 1_000_000]});
    let batch = program.post("/tracks/likes/batch", &token, &ask).await.expect("the token is good");
    assert_eq!(batch, json!({id.to_string(): true, (id + 1_000_000).to_string(): false}));
    let written = program.post(&format!("/tracks/{id}/like"), &token, &Value::Null).await;
    assert!(written.as_ref().is_err_and(|error| error.contains(": 403 ")), "the token only reads: {written:?}");
    let refused = program.post("/tracks/likes/batch", "not a token", &ask).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains(": 401 ")), "{refused:?}");

    fan.delete("fm.plyr.like", liked.rkey()).await;
    wait_until_liked(&program, &fan.did, &song.uri, false).await;
    let batch = program.post("/tracks/likes/batch", &token, &ask).await.expect("the token is still good");
    assert_eq!(batch[id.to_string()], json!(false));
    let metrics = program.metrics().await;
    for name in ["plyr_source_connected", "plyr_lag_seconds", "plyr_position_age_seconds"] {
        let series = format!("{name}{{source=\"{}\"}} ", network.source());
        assert!(metrics.contains(&series), "{series} is not among the metrics:\n{metrics}");
    }
    assert!(program.terminate().success(), "asked to end, it ends well");
}

/// The accounts of a test, and how they act.
struct World {
    random: StdRng,
    accounts: Vec<Account>,
    /// Every track that ever was.
    track_uris: BTreeSet<String>,
    /// Marks the end of each round.
    marker: Account,
    lists_made: usize,
    handles_known: bool,
}

impl World {
    async fn create(network: &Network) -> Self {
        println!("seed {SEED}");
        let mut accounts = Vec::new();
        for number in 0..ACTOR_COUNT {
            accounts.push(network.account(&format!("actor{number}")).await);
        }
        let mut track_uris = BTreeSet::new();
        for artist in &accounts[..ARTIST_COUNT] {
            let tracks: Vec<Operation> = (0..TRACK_COUNT)
                .map(|number| Operation::create("fm.plyr.track", track(&format!("{number} of {}", artist.handle))))
                .collect();
            track_uris.extend(artist.apply_writes(&tracks).await.into_iter().flatten().map(|track| track.uri));
        }
        let marker = network.account("marker").await;
        Self { random: StdRng::seed_from_u64(SEED), accounts, track_uris, marker, lists_made: 0, handles_known: false }
    }

    async fn tracks(&self) -> Vec<Stored> {
        let mut tracks = Vec::new();
        for artist in &self.accounts[..ARTIST_COUNT] {
            tracks.extend(artist.list_records("fm.plyr.track").await);
        }
        tracks
    }

    /// One commit of many operations by each account, and some single writes.
    async fn play_round(&mut self) {
        let tracks = self.tracks().await;
        for number in 0..self.accounts.len() {
            let operations = self.invent_operations(number, &tracks).await;
            self.accounts[number].apply_writes(&operations).await;
        }
        for number in 0..ARTIST_COUNT {
            self.change_tracks(number).await;
        }
    }

    /// Mostly likes, also of what is liked already; deletes, moves to another track, and lists.
    async fn invent_operations(&mut self, number: usize, tracks: &[Stored]) -> Vec<Operation> {
        let account = self.accounts[number].clone();
        let mut old_likes = account.list_records("fm.plyr.like").await;
        let mut old_lists = account.list_records("fm.plyr.list").await;
        old_likes.shuffle(&mut self.random);
        let mut operations = Vec::new();
        while operations.len() < OPERATION_COUNT {
            let track = tracks.choose(&mut self.random).expect("there are tracks");
            let operation = match self.random.random_range(0..100) {
                0..60 => Some(Operation::create("fm.plyr.like", like(track))),
                60..80 => old_likes.pop().map(|old| Operation::delete("fm.plyr.like", old.rkey())),
                80..88 => old_likes.pop().map(|old| Operation::update("fm.plyr.like", old.rkey(), like(track))),
                88..93 => Some(Operation::create("fm.plyr.list", self.invent_list(tracks))),
                93..97 => {
                    old_lists.pop().map(|old| Operation::update("fm.plyr.list", old.rkey(), self.invent_list(tracks)))
                }
                _ => old_lists.pop().map(|old| Operation::delete("fm.plyr.list", old.rkey())),
            };
            operations.extend(operation);
        }
        operations
    }

    fn invent_list(&mut self, tracks: &[Stored]) -> Value {
        self.lists_made += 1;
        let list_type = *["album", "playlist", "liked"].choose(&mut self.random).expect("there are types");
        let length = self.random.random_range(0..70);
        let items: Vec<&Stored> = (0..length).filter_map(|_| tracks.choose(&mut self.random)).collect();
        list(list_type, &format!("list {}", self.lists_made), items)
    }

    /// An edit, which changes a CID; a deletion; and a track that comes back where one was deleted.
    async fn change_tracks(&mut self, number: usize) {
        let artist = self.accounts[number].clone();
        let mut tracks = artist.list_records("fm.plyr.track").await;
        tracks.shuffle(&mut self.random);
        artist.put("fm.plyr.track", tracks[0].rkey(), track("Edited")).await;
        artist.delete("fm.plyr.track", tracks[1].rkey()).await;
        artist.delete("fm.plyr.track", tracks[2].rkey()).await;
        artist.put("fm.plyr.track", tracks[2].rkey(), track("Back again")).await;
        self.track_uris.insert(artist.create("fm.plyr.track", track("New")).await.uri);
    }

    /// Each account takes the handle that the next one had.
    async fn swap_handles(&mut self) {
        let names = self.accounts.iter().map(|account| account.handle.trim_end_matches(".test").to_owned());
        let mut names: Vec<String> = names.collect();
        names.rotate_left(1);
        for (number, account) in self.accounts.iter_mut().enumerate() {
            account.update_handle(&format!("spare{number}")).await;
        }
        for (name, account) in names.iter().zip(&mut self.accounts) {
            account.update_handle(name).await;
        }
        self.handles_known = true;
    }

    /// Waits until the program has everything that was written so far. The firehose of one PDS is in order: once the last
    /// write is seen, all are.
    async fn catch_up(&self, program: &Program) {
        let mark = self.marker.create("fm.plyr.track", track("Mark")).await;
        self.marker.create("fm.plyr.like", like(&mark)).await;
        wait_until_liked(program, &self.marker.did, &mark.uri, true).await;
    }

    /// Waits until every account is shown under the handle that it has now: they are looked up beside the stream.
    async fn wait_for_handles(&self, program: &Program) {
        for account in &self.accounts {
            let path = format!("/artists/{}", account.did);
            let is_shown = async |program: &Program| {
                let shown = program.get(&path, &[]).await?["handle"].take();
                if shown == *account.handle { Ok(()) } else { Err(format!("{shown}, and not {}", account.handle)) }
            };
            program.wait_until("the handle is confirmed", is_shown).await;
        }
    }

    /// Compares, once: what was written before must all be there.
    async fn compare(&self, program: &Program) {
        self.catch_up(program).await;
        if self.handles_known {
            self.wait_for_handles(program).await;
        }
        let truth = Truth::read(&self.accounts, &self.track_uris).await.with_handles(self.handles_known);
        println!("compared {} likes", truth.like_count());
        truth.assert_shown_by(program).await;
    }
}

#[tokio::test]
async fn end_to_end() {
    let network = Network::start().await;
    let settings = settings_for(&network);
    let mut world = World::create(&network).await;
    world.play_round().await;
    // What was written before the first start is in the firehose still.
    let program = Program::serve(&settings).await;
    world.compare(&program).await;
    world.play_round().await;
    world.compare(&program).await;

    assert!(program.terminate().success(), "asked to end, it ends well");
    world.play_round().await;
    let program = Program::serve(&settings).await;
    world.compare(&program).await;

    let mut program = program;
    for _ in 0..KILL_COUNT {
        let marker = world.marker.clone();
        // The power goes while it is at work on the round: it has just shown something of it.
        let kill = async {
            let mark = marker.create("fm.plyr.track", track("Mark")).await;
            marker.create("fm.plyr.like", like(&mark)).await;
            wait_until_liked(&program, &marker.did, &mark.uri, true).await;
            program.kill9();
        };
        tokio::join!(world.play_round(), kill);
        program = Program::serve(&settings).await;
        world.compare(&program).await;
    }

    network.stop_pds().await;
    program.get("/health", &[]).await.expect("it answers without its upstream");
    network.start_pds().await;
    world.play_round().await;
    world.compare(&program).await;

    world.swap_handles().await;
    world.play_round().await;
    world.compare(&program).await;
    lose_accounts(&network, &program, &world).await;
    world.play_round().await;
    world.compare(&program).await;
}

/// Nothing is read from the repos here: what is shown was verified commit by commit.
#[tokio::test]
async fn each_commit_of_a_real_pds_is_verified() {
    let network = Network::start().await;
    let settings = settings_for(&network).with("PLYR_VERIFY", "reject").with("PLYR_READ_REPOS", "false");
    let mut world = World::create(&network).await;
    world.play_round().await;
    let program = Program::serve(&settings).await;
    world.compare(&program).await;
    world.play_round().await;
    world.compare(&program).await;
    let metrics = program.metrics().await;
    let outcomes: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("plyr_commits_verified_total{outcome=\""))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    assert!(outcomes.len() == 1 && outcomes[0].starts_with("verified"), "{outcomes:?}");
}

/// An account deactivated, brought back and deleted: nothing of other accounts may be lost by it. What is seen of the account
/// itself is only printed; rule 9 asks for more than the stream alone can say.
async fn lose_accounts(network: &Network, program: &Program, world: &World) {
    let leaver = network.account("leaver").await;
    let song = leaver.create("fm.plyr.track", track("Last")).await;
    leaver.create("fm.plyr.like", like(&song)).await;
    world.marker.create("fm.plyr.like", like(&song)).await;
    let show = async |what: &str| {
        world.catch_up(program).await;
        let own = is_liked(program, &leaver.did, &song.uri).await;
        let other = is_liked(program, &world.marker.did, &song.uri).await;
        println!("{what}: the leaver likes its track: {own:?}; so does another: {other:?}");
    };
    show("before").await;
    leaver.deactivate().await;
    show("deactivated").await;
    leaver.activate().await;
    show("reactivated").await;
    world.compare(program).await;
    network.delete_account(leaver.clone()).await;
    show("deleted").await;
}
