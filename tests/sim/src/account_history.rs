//! Histories in which accounts are deactivated, deleted and restored: the status of each account and its repo at every moment, and
//! the events that hosts send about it, some of which are wrong.

use crate::{
    history::{History, World, a_commit, did, tid},
    random::Random,
    wire::Commit,
};

/// What an account's own PDS answers when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It serves the repo.
    Active,
    /// It does not, for this reason, if it gives one.
    Inactive(Option<&'static str>),
    /// There is no such account any more.
    Deleted,
}

/// What an event says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountEventKind {
    /// Whether it is active, and if not, why.
    Account(bool, Option<&'static str>),
    /// Its document has changed.
    Identity,
    /// Its repo is at this rev, whatever its commits said.
    Sync(i64),
}

/// An event about an account, with the time at which it happened by the clock of the host that sent it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    /// Whose account.
    pub did: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What it says.
    pub kind: AccountEventKind,
}

/// A change of an account, and the event about it.
#[derive(Debug, Clone)]
pub struct AccountChange {
    /// What is sent.
    pub event: AccountEvent,
    /// The account's status from here on; none: as before, whatever the event says.
    pub standing: Option<Standing>,
    /// Whether the repo holds nothing of what was in it before.
    pub is_wiped: bool,
    /// The rev of a commit without operations, which came with it.
    pub rev: Option<i64>,
}

/// Commits, and changes of accounts between them, in the order of time for each actor.
pub struct AccountHistory {
    /// What was written.
    pub history: History,
    /// Each with the number of commits before it.
    pub changes: Vec<(usize, AccountChange)>,
}

/// An entry of an [`AccountHistory`].
#[derive(Debug, Clone, Copy)]
pub enum HistoryItem<'l> {
    /// Something was written.
    Commit(&'l Commit),
    /// An account changed.
    Change(&'l AccountChange),
}

/// A repo at one moment.
#[derive(Debug)]
pub struct Repo<'l> {
    /// The status of its account.
    pub standing: Standing,
    /// The rev of its head; none before its first commit.
    pub rev: Option<i64>,
    /// What has been written and was not wiped, in order.
    pub commits: Vec<&'l Commit>,
    /// Whether anything was ever wiped.
    pub was_wiped: bool,
}

const STATUSES: [Option<&str>; 5] =
    [Some("deactivated"), Some("suspended"), Some("takendown"), Some("a word of tomorrow"), None];
const UNCLEAR: [&str; 2] = ["throttled", "desynchronized"];

/// The history so far of a world's actors.
struct Builder {
    clocks: Vec<i64>,
    standings: Vec<Standing>,
    commits: Vec<Commit>,
    changes: Vec<(usize, AccountChange)>,
}

impl AccountHistory {
    /// The history of such a world.
    pub fn of(world: World, random: &mut Random) -> Self {
        let mut builder = Builder {
            clocks: vec![crate::history::START_US; world.actors],
            standings: vec![Standing::Active; world.actors],
            commits: Vec::new(),
            changes: Vec::new(),
        };
        let unrest = *random.pick(&[2, 10, 30]);
        for _ in 0..world.commits {
            let actor = random.below(world.actors);
            if random.percent(unrest) {
                builder.change(actor, random);
            }
            // A deleted account does not write; mostly it stays deleted for long enough to be asked about.
            if builder.standings[actor] == Standing::Deleted {
                if random.percent(80) {
                    continue;
                }
                builder.come_back(actor, random);
            }
            builder.commits.push(a_commit(world, (actor, &mut builder.clocks[actor]), random));
        }
        for actor in 0..world.actors {
            if random.percent(unrest) {
                builder.change(actor, random);
            }
        }
        Self { history: History { commits: builder.commits }, changes: builder.changes }
    }

    /// All in order.
    pub fn items(&self) -> impl Iterator<Item = HistoryItem<'_>> {
        let mut changes = self.changes.iter().peekable();
        let mut commits = self.history.commits.iter().enumerate().peekable();
        std::iter::from_fn(move || {
            let written = commits.peek().map_or(usize::MAX, |(number, _)| *number);
            match changes.next_if(|(before, _)| *before <= written) {
                Some((_, change)) => Some(HistoryItem::Change(change)),
                None => commits.next().map(|(_, commit)| HistoryItem::Commit(commit)),
            }
        })
    }

    /// What an account's own PDS has of it at a moment.
    pub fn repo(&self, did: &str, at_us: i64) -> Repo<'_> {
        let mut repo = Repo { standing: Standing::Active, rev: None, commits: Vec::new(), was_wiped: false };
        for item in self.items() {
            match item {
                HistoryItem::Commit(commit) if commit.did == did && commit.rev >> 10 <= at_us => {
                    repo.rev = Some(commit.rev);
                    repo.commits.push(commit);
                }
                HistoryItem::Change(change) if change.event.did == did && change.event.at_us <= at_us => {
                    repo.standing = change.standing.unwrap_or(repo.standing);
                    repo.rev = change.rev.or(repo.rev);
                    if change.is_wiped {
                        repo.was_wiped = true;
                        repo.commits.clear();
                    }
                }
                HistoryItem::Commit(_) | HistoryItem::Change(_) => {}
            }
        }
        repo
    }
}

impl Builder {
    /// Adds an event about an actor, which is true mostly.
    fn change(&mut self, actor: usize, random: &mut Random) {
        let held = self.standings[actor];
        let inactive = *random.pick(&STATUSES);
        match random.below(20) {
            0..2 => self.add_event(actor, AccountEventKind::Identity, random),
            2..4 => {
                let rev = tid(self.clocks[actor] + random.between(-9_000_000, 0), 0);
                self.add_event(actor, AccountEventKind::Sync(rev), random);
            }
            4..6 => self.add_event(actor, AccountEventKind::Account(false, Some(*random.pick(&UNCLEAR))), random),
            6 => self.add_event(actor, AccountEventKind::Account(true, None), random),
            7 => self.add_event(actor, AccountEventKind::Account(false, inactive), random),
            8 => self.add_event(actor, AccountEventKind::Account(false, Some("deleted")), random),
            9..14 if held != Standing::Deleted => self.set_standing(actor, Standing::Deleted, random),
            _ if held == Standing::Active => self.set_standing(actor, Standing::Inactive(inactive), random),
            _ => self.come_back(actor, random),
        }
    }

    /// An event that changes nothing.
    fn add_event(&mut self, actor: usize, kind: AccountEventKind, random: &mut Random) {
        self.push(actor, (kind, None), random);
    }

    fn set_standing(&mut self, actor: usize, standing: Standing, random: &mut Random) {
        let kind = match standing {
            Standing::Active => AccountEventKind::Account(true, None),
            Standing::Inactive(status) => AccountEventKind::Account(false, status),
            Standing::Deleted => AccountEventKind::Account(false, Some("deleted")),
        };
        self.push(actor, (kind, Some(standing)), random);
    }

    /// An account is active again. One that was deleted has its previous repo, or an empty one.
    fn come_back(&mut self, actor: usize, random: &mut Random) {
        let was_deleted = self.standings[actor] == Standing::Deleted;
        self.set_standing(actor, Standing::Active, random);
        let (_, change) = self.changes.last_mut().expect("it has just been pushed");
        change.is_wiped = was_deleted && random.percent(50);
        if was_deleted && (change.is_wiped || random.percent(50)) {
            change.rev = Some(tid(change.event.at_us, random.between(0, 1023)));
        }
    }

    fn push(&mut self, actor: usize, (kind, standing): (AccountEventKind, Option<Standing>), random: &mut Random) {
        self.clocks[actor] += random.between(1, 5_000_000);
        let event = AccountEvent { did: did(actor), at_us: self.clocks[actor], kind };
        self.standings[actor] = standing.unwrap_or(self.standings[actor]);
        self.changes.push((self.commits.len(), AccountChange { event, standing, is_wiped: false, rev: None }));
    }
}
