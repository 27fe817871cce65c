//! Untrusted hosts, through the one client: what it refuses to reach, what it refuses to read, and which it backs off from.

mod bounds;
mod documents;
mod doors;
mod network;
mod patience;
mod post;
mod repos;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use plyr_likes::{
    atproto::Timestamp,
    clock::Clock,
    pds::{Client, ClientOptions, NameError, Names, Request, Trust},
};

/// 2026-01-01, about.
const START_US: i64 = 1_767_225_600_000_000;

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START_US)))
    }

    pub fn clock(&self) -> Clock {
        let manual_clock = self.0.clone();
        Clock::of(move || Timestamp::from_micros(manual_clock.load(Ordering::SeqCst)).unwrap())
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.micros(), Ordering::SeqCst);
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

/// Name servers that know a few hosts and texts.
pub fn names(hosts: &[(&str, &[&str])], texts: &[(&str, &[&str])]) -> Names {
    let hosts: HashMap<String, Vec<IpAddr>> = hosts
        .iter()
        .map(|(name, addresses)| ((*name).to_owned(), addresses.iter().map(|ip| ip.parse().unwrap()).collect()))
        .collect();
    let texts: HashMap<String, Vec<String>> = texts
        .iter()
        .map(|(name, texts)| ((*name).to_owned(), texts.iter().map(|text| (*text).to_owned()).collect()))
        .collect();
    Names::of(
        move |name| {
            let found = hosts.get(&name).cloned().ok_or(NameError("no such host".to_owned()));
            Box::pin(async move { found })
        },
        move |name| {
            let found = match texts.get(&name) {
                Some(texts) if texts.iter().any(|text| text == "SERVFAIL") => Err(NameError("SERVFAIL".to_owned())),
                found => Ok(found.cloned().unwrap_or_default()),
            };
            Box::pin(async move { found })
        },
    )
}

/// Short times, and everything else as in the program.
pub fn options(allow_private_hosts: bool) -> ClientOptions {
    ClientOptions { allow_private_hosts, connect_max: Duration::from_millis(500), ..ClientOptions::default() }
}

/// A client without jitter.
pub fn client(options: ClientOptions, names: &Names, manual_clock: &ManualClock) -> Client {
    Client::new(options, names, manual_clock.clock(), || 1.0).unwrap()
}

/// As a developer has it: hosts of this machine, no names.
pub fn open_client(manual_clock: &ManualClock) -> Client {
    client(options(true), &names(&[], &[]), manual_clock)
}

/// A request to an untrusted host.
pub fn request(url: &str) -> Request {
    Request::new(url.parse().unwrap(), Trust::Untrusted)
}
