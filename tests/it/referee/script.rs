//! What a seed comes to: a world, its hosts, what goes wrong on their streams, and what is done to the program meanwhile.

use plyr_likes_sim::{
    fault::{Fault, Garbage, Plan, When},
    host::Habits,
    random::Random,
    sim::{HostOptions, Options},
    world::{Mix, Shape},
};

/// Events before the program starts, besides the making of the tracks.
const PAST: usize = 200;
/// Events between two disruptions.
pub const LIVE: usize = 30;
const TRACKS: usize = 8;
const DISRUPTIONS: usize = 2;
/// Faults on the stream of each host.
const FAULTS: usize = 3;
const DIALECTS: [&str; 3] = ["jetstream", "jetstream2", "firehose"];

/// A mix of events in which nearly always one account is hidden and another deleted.
pub const COMING_AND_GOING: Mix = Mix { accounts: 40, ..Mix::UNREST };

/// When the program is killed, seen from its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has received more than it has begun to write.
    AfterReceive,
    /// Its transaction has begun and written nothing.
    BeforeTransaction,
    /// It has written a part.
    InsideTransaction,
    /// It has just committed.
    AfterCommit,
}

/// What is done to the program or its surroundings.
#[derive(Debug, Clone, PartialEq)]
pub enum Disruption {
    /// kill -9, and a new start.
    Kill(Moment),
    /// SIGTERM, and a new start.
    Terminate,
    /// A second one stands by, and takes over when the first is killed.
    TakeOver,
    /// All streams of a host are cut.
    Cut,
    /// A host is down, and comes back.
    Down,
    /// Another dictionary takes the place of the one in use.
    Dictionary,
    /// A new start with other sources.
    Switch,
    /// The database ends all connections, again and again.
    DatabaseCut,
    /// The first host forgets nearly everything.
    Shrink,
    /// The first host has this fault, and is connected to again if the fault needs it.
    AtFirst(Fault),
}

impl Disruption {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut disruptions = vec![
            Self::Kill(Moment::AfterReceive),
            Self::Kill(Moment::BeforeTransaction),
            Self::Kill(Moment::InsideTransaction),
            Self::Kill(Moment::AfterCommit),
            Self::Terminate,
            Self::TakeOver,
            Self::Cut,
            Self::Down,
            Self::Dictionary,
            Self::Switch,
            Self::DatabaseCut,
            Self::Shrink,
        ];
        let faults = [
            Fault::Answer { status: 503, retry_after: Some("1".to_owned()) },
            Fault::Answer { status: 429, retry_after: None },
            Fault::Answer { status: 404, retry_after: None },
            Fault::Hang,
            Fault::TooOld,
            Fault::Future,
            Fault::SeamLoss(3),
            Fault::SeamSwap,
            Fault::Crash(20),
            Fault::Renumber,
            Fault::Incomplete { collections: Vec::new(), events: 50 },
            Fault::Incomplete { collections: vec!["fm.plyr.like".to_owned()], events: 50 },
            // Nothing more comes from there until the next start.
            Fault::Invalid,
        ];
        disruptions.extend(faults.map(Self::AtFirst));
        disruptions
    }

    /// The name by which it is counted.
    pub fn name(&self) -> String {
        match self {
            Self::AtFirst(fault) => fault.name(),
            Self::Kill(moment) => format!("kill {moment:?}"),
            other => format!("{other:?}"),
        }
    }
}

/// Faults on a stream after which the host sends everything all the same, and soon.
pub fn survivable() -> Vec<Fault> {
    let faults = Fault::survivable().into_iter().map(|(_, fault)| fault);
    faults.filter(|fault| !fault.at_request() && *fault != Fault::Garbage(Garbage::Huge)).collect()
}

/// Those after which something is lost, or nothing comes for long. They strike the first host alone: what all hosts lose is lost.
pub fn harmful() -> Vec<Fault> {
    vec![Fault::Lose, Fault::Silence, Fault::Garbage(Garbage::Huge)]
}

/// What a seed comes to.
#[derive(Debug)]
pub struct Script {
    /// The world and its hosts. The first loses things, the others lose nothing.
    pub options: Options,
    /// What each host is asked in.
    pub dialects: Vec<&'static str>,
    /// One after the other.
    pub disruptions: Vec<Disruption>,
}

impl Script {
    /// Disruptions and faults go round, so that so many seeds in a row, from any, have them all.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let round = |number: u64, count: usize| usize::try_from(number % count as u64).expect("below a usize");
        let disruptions = Disruption::all();
        let nth = |at: usize| disruptions[round(seed * DISRUPTIONS as u64 + at as u64, disruptions.len())].clone();
        let disruptions: Vec<Disruption> = (0..DISRUPTIONS).map(nth).collect();
        let hosts = 2 + random.below(2);
        let mut dialects: Vec<&'static str> = (0..hosts).map(|_| *random.pick(&DIALECTS)).collect();
        if let Some(dialect) = disruptions.iter().find_map(wanted_dialect) {
            dialects[0] = dialect;
        }
        let (survivable, harmful) = (survivable(), harmful());
        let host = |number: usize| {
            let mut plan = Plan::none();
            let mut strike = |fault: &Fault| {
                let place = random.between(5, i64::try_from(TRACKS + PAST + LIVE).expect("small"));
                plan.faults.push((When::At(u64::try_from(place).expect("not negative")), fault.clone()));
            };
            for at in 0..FAULTS {
                let number = seed * (FAULTS * 2) as u64 + (number % 2 * FAULTS + at) as u64;
                strike(&survivable[round(number, survivable.len())]);
            }
            if number == 0 {
                strike(&harmful[round(seed, harmful.len())]);
            }
            let v1_only = dialects[number] == "jetstream" && seed.is_multiple_of(2);
            let announces = number == 0;
            HostOptions { habits: Habits::untidy(number), plan, v1_only, announces, ..HostOptions::default() }
        };
        let hosts: Vec<HostOptions> = (0..hosts).map(host).collect();
        // In one of four worlds accounts come and go.
        let mix = if seed % 4 == 3 { COMING_AND_GOING } else { Mix { accounts: 0, ..Mix::UNREST } };
        let shape = Shape { seed, actors: 10, tracks: TRACKS, events: PAST, mix, ..Shape::default() };
        Self { options: Options { shape, hosts, ..Options::default() }, dialects, disruptions }
    }
}

/// In what the first host must be asked for this to strike.
fn wanted_dialect(disruption: &Disruption) -> Option<&'static str> {
    match disruption {
        Disruption::Dictionary
        | Disruption::Shrink
        | Disruption::AtFirst(Fault::TooOld | Fault::Future | Fault::Crash(_)) => Some("jetstream2"),
        Disruption::AtFirst(Fault::Renumber) => Some("firehose"),
        _ => None,
    }
}
