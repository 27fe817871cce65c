//! What goes wrong, when, and a count of how often it did.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

/// A message that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// Text that is no JSON, bytes that are no CBOR.
    NotJson,
    /// The first half of a message.
    Truncated,
    /// 5 MB of one text.
    Huge,
    /// Lists in lists, 10,000 deep.
    Deep,
    /// A small zstd frame of 1 GB. On a plain socket it is binary nonsense.
    Bomb,
    /// Plain text, whatever the socket was agreed to carry.
    Text,
    /// A kind (v1) or header type (firehose) that does not exist.
    UnknownKind,
    /// A `$type` that does not exist.
    UnknownType,
    /// A commit with an operation that does not exist.
    UnknownOperation,
    /// A header that is cut off.
    BrokenFraming,
}

impl Garbage {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotJson,
        Self::Truncated,
        Self::Huge,
        Self::Deep,
        Self::Bomb,
        Self::Text,
        Self::UnknownKind,
        Self::UnknownType,
        Self::UnknownOperation,
        Self::BrokenFraming,
    ];
}

/// What can go wrong on a host's stream. CASES.md T1-T18.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The frame comes twice.
    Duplicate,
    /// So many of the last events come again.
    Again(u64),
    /// The next frame comes before this one.
    Swap,
    /// This frame does not come.
    Lose,
    /// Nothing of these collections (exact, or `prefix.*`; empty: all of `fm.plyr`) comes for so many events.
    Incomplete {
        /// Which collections.
        collections: Vec<String>,
        /// For so many events of the log.
        events: u64,
    },
    /// A close frame with this code; 1006 is an end without one.
    Close(u16),
    /// The TCP connection is reset inside a frame.
    Reset,
    /// Neither frames nor pings nor pongs come any more, and the connection stays open.
    Silence,
    /// Nothing comes for so many milliseconds.
    Stall(u64),
    /// The error frame `ConsumerTooSlow`, and the close that follows it.
    TooSlow,
    /// A frame that is no message.
    Garbage(Garbage),
    /// At the request: this status, with or without Retry-After, instead of the upgrade.
    Answer {
        /// Such as 503.
        status: u16,
        /// As the header says it.
        retry_after: Option<String>,
    },
    /// At the request: never an answer.
    Hang,
    /// At the request: `InvalidRequest`.
    Invalid,
    /// At the request with a cursor: as though it were older than everything that is kept.
    TooOld,
    /// At the request with a cursor: as though it were in the future.
    Future,
    /// At the request: so many events are left out between the replay and what is live.
    SeamLoss(u64),
    /// At the request: the events around the seam between the replay and what is live are swapped.
    SeamSwap,
    /// The host crashes and hands out the numbers of its last events again.
    Crash(usize),
    /// The host counts from one again.
    Renumber,
}

impl Fault {
    /// The name by which it is counted.
    pub fn name(&self) -> String {
        match self {
            Self::Close(code) => format!("close {code}"),
            Self::Garbage(garbage) => format!("garbage {garbage:?}"),
            Self::Answer { status, retry_after: None } => format!("answer {status}"),
            Self::Answer { status, .. } => format!("answer {status} retry-after"),
            Self::Incomplete { .. } => "incomplete".to_owned(),
            Self::Again(_) => "again".to_owned(),
            Self::Stall(_) => "stall".to_owned(),
            Self::SeamLoss(_) => "seam loss".to_owned(),
            Self::SeamSwap => "seam swap".to_owned(),
            Self::Crash(_) => "crash".to_owned(),
            Self::TooSlow => "too slow".to_owned(),
            Self::TooOld => "too old".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// Whether it strikes when a client connects, and not at an event.
    pub fn at_request(&self) -> bool {
        matches!(
            self,
            Self::Answer { .. }
                | Self::Hang
                | Self::Invalid
                | Self::TooOld
                | Self::Future
                | Self::SeamLoss(_)
                | Self::SeamSwap
        )
    }

    /// Those that lose nothing for good, for a long run, each with how often it comes relative to the others.
    pub fn survivable() -> Vec<(usize, Self)> {
        let mut faults = vec![
            (8, Self::Duplicate),
            (3, Self::Again(50)),
            (1, Self::Again(2_000)),
            (8, Self::Swap),
            (2, Self::Reset),
            (1, Self::Stall(500)),
            (1, Self::TooSlow),
            (1, Self::Answer { status: 503, retry_after: Some("1".to_owned()) }),
            (1, Self::Answer { status: 429, retry_after: None }),
            (1, Self::SeamSwap),
        ];
        faults.extend([1000, 1001, 1006, 1006, 1007, 1008, 1009, 1011, 1013].map(|code| (1, Self::Close(code))));
        faults.extend(Garbage::ALL.map(|garbage| (1, Self::Garbage(garbage))));
        faults
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Once, at the first connection that comes to this place of the host's log (faults of the request: at this connection).
    At(u64),
    /// On every connection, after each so many events (faults of the request: at each so-manieth connection).
    Every(u64),
    /// On every connection, after each so many milliseconds.
    EveryMs(u64),
    /// Once in so many events, by chance (faults of the request: once in so many connections).
    OneIn(u64),
}

/// What goes wrong on one host.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Each fault with its time.
    pub faults: Vec<(When, Fault)>,
}

impl Plan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// One more fault.
    #[must_use]
    pub fn with(mut self, when: When, fault: Fault) -> Self {
        self.faults.push((when, fault));
        self
    }

    /// Everything that loses nothing, once in about so many events in all.
    pub fn some(one_in: u64) -> Self {
        let faults = Fault::survivable();
        let total: usize = faults.iter().map(|(weight, _)| weight).sum();
        let when = |weight: usize, fault: &Fault| {
            let (total, weight) = (u64::try_from(total).expect("few"), u64::try_from(weight).expect("few"));
            if fault.at_request() { When::OneIn(10) } else { When::OneIn((one_in * total / weight).max(1)) }
        };
        Self { faults: faults.into_iter().map(|(weight, fault)| (when(weight, &fault), fault)).collect() }
    }
}

/// What can go wrong with a read.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadFault {
    /// This status, with or without Retry-After.
    Status {
        /// Such as 429.
        status: u16,
        /// As the header says it, absurd or not.
        retry_after: Option<String>,
    },
    /// Never an answer.
    Hang,
    /// Half of the body, and the end.
    Truncate,
    /// A page that names as the next one itself.
    SameCursor,
    /// The repo that is asked for moves on, just before the answer.
    Move,
    /// The document or answer is about another DID.
    WrongDid,
    /// The client is sent to this URL.
    Redirect(String),
    /// A DID document names this as the PDS.
    WrongPds(String),
    /// The PDS answers an empty page, as though the repo had no records.
    Empty,
    /// The PDS leaves out the first record of a page.
    Omit,
    /// Something in the answer is not as others write it.
    Odd(OddAnswer),
}

/// What is odd in an answer, and leaves it of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OddAnswer {
    /// The last page names the empty text as the next one.
    EmptyCursor,
    /// A list without items is null.
    NullList,
    /// The first record has no value.
    NoValue,
    /// One more item, which is a number.
    OddItem,
    /// A DID document whose lists begin with something else, and whose first name is no handle.
    OddDocument,
}

impl OddAnswer {
    /// Alters an answer.
    pub(crate) fn alter(self, answer: &mut Value) {
        let list = ["records", "repos"].into_iter().find(|name| answer[*name].is_array()).unwrap_or_default();
        match self {
            Self::EmptyCursor if answer["cursor"].is_null() => answer["cursor"] = "".into(),
            Self::NullList if answer[list].as_array().is_some_and(Vec::is_empty) => answer[list] = Value::Null,
            Self::NoValue => {
                if let Some(record) = answer[list].get_mut(0).and_then(Value::as_object_mut) {
                    record.remove("value");
                }
            }
            Self::OddItem => answer[list].as_array_mut().into_iter().for_each(|items| items.insert(0, 7.into())),
            Self::OddDocument => {
                for (name, odd) in [
                    ("alsoKnownAs", "at://not_a_handle".into()),
                    ("service", "x".into()),
                    ("verificationMethod", Value::Null),
                ] {
                    answer[name].as_array_mut().into_iter().for_each(|items| items.insert(0, odd.clone()));
                }
            }
            Self::EmptyCursor | Self::NullList => {}
        }
    }
}

impl ReadFault {
    /// The name by which it is counted.
    pub fn name(&self) -> String {
        match self {
            Self::Status { status, retry_after: None } => format!("read {status}"),
            Self::Status { status, .. } => format!("read {status} retry-after"),
            Self::Redirect(_) => "read redirect".to_owned(),
            Self::WrongPds(_) => "read wrongpds".to_owned(),
            Self::Odd(odd) => format!("read {odd:?}").to_lowercase(),
            other => format!("read {other:?}").to_lowercase(),
        }
    }
}

/// What goes wrong with the reads of a host.
#[derive(Debug, Clone, Default)]
pub struct ReadPlan {
    /// For requests whose path or query holds this text, when (of requests: the host's so-manieth), what.
    pub faults: Vec<(String, When, ReadFault)>,
}

impl ReadPlan {
    /// One more fault.
    #[must_use]
    pub fn with(mut self, on: &str, when: When, fault: ReadFault) -> Self {
        self.faults.push((on.to_owned(), when, fault));
        self
    }
}

/// How often each of several things has happened.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// Notes one.
    pub fn note(&self, name: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    /// All, by name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the one of this name has happened.
    pub fn count(&self, name: &str) -> u64 {
        self.counts().get(name).copied().unwrap_or_default()
    }
}
