//! How two hosts deliver a history.

use crate::{
    account_history::{AccountEvent, AccountEventKind, AccountHistory, HistoryItem},
    history::{History, START_US},
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
    /// The event about an account, if it is one.
    pub account_event: Option<AccountEvent>,
    /// Whether it is neither a commit nor anything else that the index knows.
    pub garbage: bool,
}

/// Delivers a history over two hosts: each misses some commits that the other has, orders as it likes, sends things twice
/// and ranges again; the messages of both arrive interleaved, cut into batches.
pub fn deliver(history: &History, random: &mut Random) -> Vec<Vec<Message>> {
    deliver_all(&history.commits.iter().map(HistoryItem::Commit).collect::<Vec<_>>(), random)
}

/// Likewise, with the events about accounts.
pub fn deliver_with_accounts(accounts: &AccountHistory, random: &mut Random) -> Vec<Vec<Message>> {
    deliver_all(&accounts.items().collect::<Vec<_>>(), random)
}

fn deliver_all(items: &[HistoryItem<'_>], random: &mut Random) -> Vec<Vec<Message>> {
    let loss = *random.pick(&[0, 10, 30]);
    let mut kept = [Vec::new(), Vec::new()];
    for item in items {
        let (first, second) = (!random.percent(loss), !random.percent(loss));
        let host = random.below(2);
        if first || (!second && host == 0) {
            kept[0].push(*item);
        }
        if second || (!first && host == 1) {
            kept[1].push(*item);
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
        send_again(&mut messages, random);
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

fn stream_of(order: &[HistoryItem<'_>], host: usize, random: &mut Random) -> Vec<Message> {
    let dialect = *random.pick(&[Dialect::JetstreamV1, Dialect::Firehose]);
    let mut messages = Vec::new();
    let mut time_us = START_US;
    for item in order {
        // Several messages may share one number.
        time_us += random.between(0, 2) * 1_000;
        let mut send = |bytes, writes, account_event, garbage| {
            messages.push(Message { host, dialect, position: time_us, bytes, writes, account_event, garbage });
        };
        let commit = match item {
            HistoryItem::Commit(commit) => commit,
            HistoryItem::Change(change) => {
                let event = &change.event;
                if let Some(bytes) = message_of(event, dialect, (time_us, random)) {
                    send(bytes, Vec::new(), Some(event.clone()), false);
                }
                continue;
            }
        };
        match dialect {
            Dialect::JetstreamV1 => (0..commit.operations.len()).for_each(|op| {
                send(wire::v1_message(commit, op, time_us), commit.write(op).into_iter().collect(), None, false);
            }),
            Dialect::Firehose => send(wire::firehose_message(commit, time_us, time_us), commit.writes(), None, false),
        }
        match random.below(40) {
            which @ 0..2 => {
                let kind = if which == 0 { AccountEventKind::Identity } else { AccountEventKind::Account(true, None) };
                let event = AccountEvent { did: commit.did.clone(), at_us: time_us, kind };
                let bytes = message_of(&event, dialect, (time_us, random)).expect("both dialects have it");
                send(bytes, Vec::new(), Some(event), false);
            }
            2 => send(some_garbage(random), Vec::new(), None, true),
            _ => {}
        }
    }
    messages
}

/// An event in a dialect, if that has such events.
fn message_of(event: &AccountEvent, dialect: Dialect, (time_us, random): (i64, &mut Random)) -> Option<Vec<u8>> {
    let AccountEvent { did, at_us, kind } = event;
    Some(match (dialect, *kind) {
        (Dialect::JetstreamV1, AccountEventKind::Identity) => wire::v1_identity(did, a_handle(random), time_us),
        (Dialect::JetstreamV1, AccountEventKind::Account(active, status)) => {
            wire::v1_account(did, (active, status), (*at_us, time_us))
        }
        (Dialect::JetstreamV1, AccountEventKind::Sync(_)) => return None,
        (Dialect::Firehose, AccountEventKind::Identity) => {
            wire::firehose_identity(did, a_handle(random), time_us, *at_us)
        }
        (Dialect::Firehose, AccountEventKind::Account(active, status)) => {
            wire::firehose_account_of(did, (active, status), time_us, *at_us)
        }
        (Dialect::Firehose, AccountEventKind::Sync(rev)) => wire::firehose_sync(did, rev, time_us, *at_us),
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

fn send_again(messages: &mut Vec<Message>, random: &mut Random) {
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
