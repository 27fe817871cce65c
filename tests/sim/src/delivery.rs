//! How two hosts deliver a history.

use crate::{
    history::{History, START_US},
    lives::{Happening, Lives, Said, Word},
    model::Write,
    random::Random,
    wire,
};

/// How a host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// JSON, a message for each operation.
    JetstreamV1,
    /// DAG-CBOR, a message for each commit.
    Firehose,
}

/// One message of one host.
#[derive(Debug, Clone)]
pub struct Message {
    /// 0 or 1.
    pub host: usize,
    /// What the host speaks.
    pub dialect: Dialect,
    /// Its number in the host's log.
    pub position: i64,
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// What it means to the referee.
    pub writes: Vec<Write>,
    /// What it says of an account.
    pub said: Option<Said>,
    /// Whether it is neither a commit nor anything else that the index knows.
    pub garbage: bool,
}

/// Delivers a history over two hosts: each misses some commits that the other has, orders as it likes, says things twice
/// and ranges again; the messages of both arrive interleaved, cut into batches.
pub fn deliver(history: &History, random: &mut Random) -> Vec<Vec<Message>> {
    deliver_all(&history.commits.iter().map(Happening::Commit).collect::<Vec<_>>(), random)
}

/// Likewise, with what is said of accounts.
pub fn deliver_lives(lives: &Lives, random: &mut Random) -> Vec<Vec<Message>> {
    deliver_all(&lives.happenings().collect::<Vec<_>>(), random)
}

fn deliver_all(happenings: &[Happening<'_>], random: &mut Random) -> Vec<Vec<Message>> {
    let loss = *random.pick(&[0, 10, 30]);
    let mut kept = [Vec::new(), Vec::new()];
    for happening in happenings {
        let (first, second) = (!random.percent(loss), !random.percent(loss));
        let host = random.below(2);
        if first || (!second && host == 0) {
            kept[0].push(*happening);
        }
        if second || (!first && host == 1) {
            kept[1].push(*happening);
        }
    }
    let mut streams: Vec<std::vec::IntoIter<Message>> = Vec::new();
    for (host, mut order) in kept.into_iter().enumerate() {
        match random.below(3) {
            0 => {}
            1 => order.chunks_mut(8).for_each(|chunk| random.shuffle(chunk)),
            _ => random.shuffle(&mut order),
        }
        let mut messages = stream_of(&order, host, random);
        say_again(&mut messages, random);
        streams.push(messages.into_iter());
    }
    let mut merged = Vec::new();
    while streams.iter().any(|stream| stream.len() > 0) {
        let host = random.below(2);
        let run = 1 + random.below(20);
        merged.extend(streams[host].by_ref().take(run));
    }
    cut(merged, random)
}

fn stream_of(order: &[Happening<'_>], host: usize, random: &mut Random) -> Vec<Message> {
    let dialect = *random.pick(&[Dialect::JetstreamV1, Dialect::Firehose]);
    let mut messages = Vec::new();
    let mut time_us = START_US;
    for happening in order {
        // Several messages may share one number.
        time_us += random.between(0, 2) * 1_000;
        let mut say = |bytes, writes, said, garbage| {
            messages.push(Message { host, dialect, position: time_us, bytes, writes, said, garbage });
        };
        let commit = match happening {
            Happening::Commit(commit) => commit,
            Happening::Turn(turn) => {
                let said = &turn.said;
                if let Some(bytes) = message_of(said, dialect, (time_us, random)) {
                    say(bytes, Vec::new(), Some(said.clone()), false);
                }
                continue;
            }
        };
        match dialect {
            Dialect::JetstreamV1 => (0..commit.operations.len()).for_each(|op| {
                say(wire::v1_message(commit, op, time_us), commit.write(op).into_iter().collect(), None, false);
            }),
            Dialect::Firehose => say(wire::firehose_message(commit, time_us, time_us), commit.writes(), None, false),
        }
        match random.below(40) {
            which @ 0..2 => {
                let word = if which == 0 { Word::Identity } else { Word::Account(true, None) };
                let said = Said { did: commit.did.clone(), at_us: time_us, word };
                let bytes = message_of(&said, dialect, (time_us, random)).expect("both dialects have it");
                say(bytes, Vec::new(), Some(said), false);
            }
            2 => say(some_garbage(random), Vec::new(), None, true),
            _ => {}
        }
    }
    messages
}

/// What is said, in a dialect, if it has words for it.
fn message_of(said: &Said, dialect: Dialect, (time_us, random): (i64, &mut Random)) -> Option<Vec<u8>> {
    let Said { did, at_us, word } = said;
    Some(match (dialect, *word) {
        (Dialect::JetstreamV1, Word::Identity) => wire::v1_identity(did, a_handle(random), time_us),
        (Dialect::JetstreamV1, Word::Account(active, status)) => {
            wire::v1_account(did, (active, status), (*at_us, time_us))
        }
        (Dialect::JetstreamV1, Word::Sync(_)) => return None,
        (Dialect::Firehose, Word::Identity) => wire::firehose_identity(did, a_handle(random), time_us, *at_us),
        (Dialect::Firehose, Word::Account(active, status)) => {
            wire::firehose_account_of(did, (active, status), time_us, *at_us)
        }
        (Dialect::Firehose, Word::Sync(rev)) => wire::firehose_sync(did, rev, time_us, *at_us),
    })
}

fn a_handle(random: &mut Random) -> Option<&'static str> {
    random.percent(50).then(|| *random.pick(&["alice.test", "bob.test"]))
}

/// Bytes that are no message of any dialect.
pub fn some_garbage(random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 => Vec::new(),
        1 => b"{\"did\":\"did:plc:".to_vec(),
        2 => (0..64).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect(),
        3 => b"[[[[[[[[[[[[[[[[".repeat(600),
        _ => vec![0xa1; 200],
    }
}

fn say_again(messages: &mut Vec<Message>, random: &mut Random) {
    for _ in 0..random.below(4) {
        if messages.is_empty() {
            return;
        }
        let from = random.below(messages.len());
        let to = from + 1 + random.below((messages.len() - from).min(40));
        let range: Vec<Message> = messages[from..to.min(messages.len())].to_vec();
        let place = from + random.below(messages.len() - from + 1);
        messages.splice(place..place, range);
    }
}

fn cut(messages: Vec<Message>, random: &mut Random) -> Vec<Vec<Message>> {
    // Single messages only where there are few: each batch costs a dozen statements.
    let small = if messages.len() < 60 { 1 } else { 8 };
    let size_max = *random.pick(&[small, 20, 100, 1_000]);
    let mut batches = Vec::new();
    let mut rest = messages.into_iter();
    loop {
        let batch: Vec<Message> = rest.by_ref().take(1 + random.below(size_max)).collect();
        if batch.is_empty() {
            return batches;
        }
        batches.push(batch);
    }
}
