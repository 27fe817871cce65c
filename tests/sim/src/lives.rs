//! Histories in which accounts come and go: what is true of each account and its repo at every moment, and what hosts say of it,
//! which now and then is not true.

use crate::{
    history::{History, World, a_commit, did, tid},
    random::Random,
    wire::Commit,
};

/// What an account's own server says when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It serves the repo.
    Active,
    /// It does not, for this reason, if it gives one.
    Inactive(Option<&'static str>),
    /// There is no such account any more.
    Deleted,
}

/// What a host says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Whether it is active, and if not, why.
    Account(bool, Option<&'static str>),
    /// Its document has changed.
    Identity,
    /// Its repo is at this rev, whatever the events told.
    Sync(i64),
}

/// What is said of whom, and when it happened by the clock of the host that told it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whose account.
    pub did: String,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What.
    pub word: Word,
}

/// A change of an account, and the word about it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What is said.
    pub said: Said,
    /// How the account stands from here on; none: as before, whatever is said.
    pub standing: Option<Standing>,
    /// Whether the repo holds nothing of what was in it before.
    pub is_wiped: bool,
    /// The rev of a commit without operations, which came with it.
    pub rev: Option<i64>,
}

/// Commits, and turns between them, in the order of time for each actor.
pub struct Lives {
    /// What was written.
    pub history: History,
    /// Each with the number of commits before it.
    pub turns: Vec<(usize, Turn)>,
}

/// One or the other.
#[derive(Debug, Clone, Copy)]
pub enum Happening<'l> {
    /// Something was written.
    Commit(&'l Commit),
    /// Something became of an account.
    Turn(&'l Turn),
}

/// A repo at one moment.
#[derive(Debug)]
pub struct Repo<'l> {
    /// How its account stands.
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

/// The lives so far of a world's actors.
struct Making {
    clocks: Vec<i64>,
    standings: Vec<Standing>,
    commits: Vec<Commit>,
    turns: Vec<(usize, Turn)>,
}

impl Lives {
    /// The lives of such a world.
    pub fn of(world: World, random: &mut Random) -> Self {
        let mut making = Making {
            clocks: vec![crate::history::START_US; world.actors],
            standings: vec![Standing::Active; world.actors],
            commits: Vec::new(),
            turns: Vec::new(),
        };
        let unrest = *random.pick(&[2, 10, 30]);
        for _ in 0..world.commits {
            let actor = random.below(world.actors);
            if random.percent(unrest) {
                making.turn(actor, random);
            }
            // Nobody writes to a repo that is not there; mostly it stays away for long enough to be asked about.
            if making.standings[actor] == Standing::Deleted {
                if random.percent(80) {
                    continue;
                }
                making.come_back(actor, random);
            }
            making.commits.push(a_commit(world, (actor, &mut making.clocks[actor]), random));
        }
        for actor in 0..world.actors {
            if random.percent(unrest) {
                making.turn(actor, random);
            }
        }
        Self { history: History { commits: making.commits }, turns: making.turns }
    }

    /// All in order.
    pub fn happenings(&self) -> impl Iterator<Item = Happening<'_>> {
        let mut turns = self.turns.iter().peekable();
        let mut commits = self.history.commits.iter().enumerate().peekable();
        std::iter::from_fn(move || {
            let written = commits.peek().map_or(usize::MAX, |(number, _)| *number);
            match turns.next_if(|(before, _)| *before <= written) {
                Some((_, turn)) => Some(Happening::Turn(turn)),
                None => commits.next().map(|(_, commit)| Happening::Commit(commit)),
            }
        })
    }

    /// What an account's own server has of it at a moment.
    pub fn repo(&self, did: &str, at_us: i64) -> Repo<'_> {
        let mut repo = Repo { standing: Standing::Active, rev: None, commits: Vec::new(), was_wiped: false };
        for happening in self.happenings() {
            match happening {
                Happening::Commit(commit) if commit.did == did && commit.rev >> 10 <= at_us => {
                    repo.rev = Some(commit.rev);
                    repo.commits.push(commit);
                }
                Happening::Turn(turn) if turn.said.did == did && turn.said.at_us <= at_us => {
                    repo.standing = turn.standing.unwrap_or(repo.standing);
                    repo.rev = turn.rev.or(repo.rev);
                    if turn.is_wiped {
                        repo.was_wiped = true;
                        repo.commits.clear();
                    }
                }
                Happening::Commit(_) | Happening::Turn(_) => {}
            }
        }
        repo
    }
}

impl Making {
    /// Something is said of an actor, and mostly it is so.
    fn turn(&mut self, actor: usize, random: &mut Random) {
        let held = self.standings[actor];
        let inactive = *random.pick(&STATUSES);
        match random.below(20) {
            0..2 => self.say(actor, Word::Identity, random),
            2..4 => {
                let rev = tid(self.clocks[actor] + random.between(-9_000_000, 0), 0);
                self.say(actor, Word::Sync(rev), random);
            }
            4..6 => self.say(actor, Word::Account(false, Some(*random.pick(&UNCLEAR))), random),
            6 => self.say(actor, Word::Account(true, None), random),
            7 => self.say(actor, Word::Account(false, inactive), random),
            8 => self.say(actor, Word::Account(false, Some("deleted")), random),
            9..14 if held != Standing::Deleted => self.become_of(actor, Standing::Deleted, random),
            _ if held == Standing::Active => self.become_of(actor, Standing::Inactive(inactive), random),
            _ => self.come_back(actor, random),
        }
    }

    /// A word that changes nothing.
    fn say(&mut self, actor: usize, word: Word, random: &mut Random) {
        self.take(actor, (word, None), random);
    }

    fn become_of(&mut self, actor: usize, standing: Standing, random: &mut Random) {
        let word = match standing {
            Standing::Active => Word::Account(true, None),
            Standing::Inactive(status) => Word::Account(false, status),
            Standing::Deleted => Word::Account(false, Some("deleted")),
        };
        self.take(actor, (word, Some(standing)), random);
    }

    /// An account is active again. One that was deleted has its repo of before, or an empty one.
    fn come_back(&mut self, actor: usize, random: &mut Random) {
        let was_deleted = self.standings[actor] == Standing::Deleted;
        self.become_of(actor, Standing::Active, random);
        let (_, turn) = self.turns.last_mut().expect("it has just been taken");
        turn.is_wiped = was_deleted && random.percent(50);
        if was_deleted && (turn.is_wiped || random.percent(50)) {
            turn.rev = Some(tid(turn.said.at_us, random.between(0, 1023)));
        }
    }

    fn take(&mut self, actor: usize, (word, standing): (Word, Option<Standing>), random: &mut Random) {
        self.clocks[actor] += random.between(1, 5_000_000);
        let said = Said { did: did(actor), at_us: self.clocks[actor], word };
        self.standings[actor] = standing.unwrap_or(self.standings[actor]);
        self.turns.push((self.commits.len(), Turn { said, standing, is_wiped: false, rev: None }));
    }
}
