//! A running world: its hosts on ports of loopback, and the handles by which a test moves it.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    dictionary::Dictionary,
    fault::{Fault, Plan, ReadPlan, Tally},
    host::{Habits, Log},
    random::Random,
    server,
    world::{Shape, World},
};

/// What one host is like.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Order, stamps, numbers, window.
    pub habits: Habits,
    /// What goes wrong on its streams.
    pub plan: Plan,
    /// What goes wrong with its reads.
    pub reads: ReadPlan,
    /// Whether it is a Jetstream of the first kind only: no sequence numbers, no `subscribeEvents`.
    pub v1_only: bool,
    /// Whether its firehose says that a cursor is too old or in the future, as a PDS does and a relay does not.
    pub announces: bool,
    /// The port; 0 takes a free one.
    pub port: u16,
}

/// What to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// The world.
    pub shape: Shape,
    /// Each on its own port.
    pub hosts: Vec<HostOptions>,
    /// How many of the first actors live at a `did:web`: at most one for each host.
    pub web: usize,
    /// How many events happen in a second from now on; 0: none but those that are asked for.
    pub rate: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { shape: Shape::default(), hosts: vec![HostOptions::default()], web: 0, rate: 0 }
    }
}

/// The world, and what each host has of it.
pub struct State {
    /// What happened.
    pub world: World,
    /// By host.
    pub logs: Vec<Log>,
}

/// A host, besides its log.
pub(crate) struct Host {
    pub address: SocketAddr,
    pub plan: Plan,
    pub reads: ReadPlan,
    pub v1_only: bool,
    pub announces: bool,
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    pub down: AtomicBool,
    pub cuts: watch::Sender<u64>,
    random: Mutex<Random>,
    struck: Mutex<HashSet<usize>>,
    injected: Mutex<VecDeque<Fault>>,
    incomplete: Mutex<Option<Incomplete>>,
}

/// The host withholds these collections.
#[derive(Debug, Clone)]
struct Incomplete {
    collections: Vec<String>,
    /// Places at and after which it is over.
    until: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(options: &HostOptions, address: SocketAddr, seed: u64) -> Self {
        Self {
            address,
            plan: options.plan.clone(),
            reads: options.reads.clone(),
            v1_only: options.v1_only,
            announces: options.announces,
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            down: AtomicBool::new(false),
            cuts: watch::Sender::new(0),
            random: Mutex::new(Random::new(seed)),
            struck: Mutex::new(HashSet::new()),
            injected: Mutex::new(VecDeque::new()),
            incomplete: Mutex::new(None),
        }
    }

    /// Whether a fault that strikes once strikes now.
    pub fn once(&self, number: usize) -> bool {
        lock(&self.struck).insert(number)
    }

    pub fn one_in(&self, events: u64) -> bool {
        lock(&self.random).number().is_multiple_of(events)
    }

    /// The next injected fault of those that strike on a connection.
    pub fn take_injected(&self) -> Option<Fault> {
        let mut injected = lock(&self.injected);
        let at = injected.iter().position(|fault| !fault.at_request())?;
        injected.remove(at)
    }

    /// The next injected fault of those that strike at a request.
    pub fn take_injected_at_request(&self) -> Option<Fault> {
        let mut injected = lock(&self.injected);
        let at = injected.iter().position(Fault::at_request)?;
        injected.remove(at)
    }

    pub fn make_incomplete(&self, collections: Vec<String>, from: u64, events: u64) {
        let collections = if collections.is_empty() { vec!["fm.plyr.*".to_owned()] } else { collections };
        *lock(&self.incomplete) = Some(Incomplete { collections, until: from.saturating_add(events) });
    }

    /// The collections that are not delivered at this place.
    pub fn withheld_at(&self, place: u64) -> Vec<String> {
        let mut incomplete = lock(&self.incomplete);
        // Once it is complete again, it delivers what it withheld to clients that replay from before.
        if incomplete.as_ref().is_some_and(|incomplete| place >= incomplete.until) {
            *incomplete = None;
        }
        incomplete.as_ref().map(|incomplete| incomplete.collections.clone()).unwrap_or_default()
    }
}

pub(crate) struct Shared {
    state: RwLock<State>,
    pub hosts: Vec<Host>,
    pub fired: Tally,
    pub asked: Tally,
    pub changes: watch::Sender<u64>,
    pub dictionaries: Mutex<Vec<Dictionary>>,
    pub folded: crate::repo::Folded,
    rate: AtomicU64,
}

impl Shared {
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes the world; every host adds it to its log.
    pub fn happen<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = {
            let mut state = self.write();
            let State { world, logs } = &mut *state;
            let result = change(world);
            for log in logs {
                log.follow(world);
            }
            result
        };
        self.bump();
        result
    }

    pub fn crash(&self, host: usize, events: usize) {
        {
            let mut state = self.write();
            let State { world, logs } = &mut *state;
            logs[host].crash(world, events);
        }
        self.fired.note("crash");
        self.cut(host);
    }

    pub fn renumber(&self, host: usize) {
        {
            let mut state = self.write();
            let State { world, logs } = &mut *state;
            logs[host].reset(world);
        }
        self.fired.note("renumber");
        self.cut(host);
    }

    pub fn cut(&self, host: usize) {
        self.hosts[host].cuts.send_modify(|count| *count += 1);
    }

    /// The dictionary that is in use.
    pub fn dictionary(&self) -> Dictionary {
        lock(&self.dictionaries).last().expect("there is one from the beginning").clone()
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).expect("an i64 lasts for 292,000 years")
}

/// A running world; ends with the value.
pub struct Sim {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Sim {
    /// Makes the world and listens.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let mut listeners = Vec::new();
        for host in &options.hosts {
            listeners.push(TcpListener::bind(("127.0.0.1", host.port)).await?);
        }
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
        let web: Vec<String> = addresses
            .iter()
            .take(options.web)
            .map(|address| format!("did:web:localhost%3A{}", address.port()))
            .collect();
        let seed = options.shape.seed;
        let world = World::new(options.shape, addresses.len(), &web);
        let seeds = (0..).map(|number| seed.wrapping_mul(31).wrapping_add(number));
        let logs = options.hosts.iter().zip(seeds.clone()).map(|(host, seed)| {
            let mut log = Log::new(host.habits.clone(), seed);
            log.follow(&world);
            log
        });
        let logs = logs.collect();
        let hosts = options
            .hosts
            .iter()
            .zip(addresses)
            .zip(seeds)
            .map(|((host, address), seed)| Host::new(host, address, seed ^ 0x5eed));
        let shared = Arc::new(Shared {
            state: RwLock::new(State { world, logs }),
            hosts: hosts.collect(),
            fired: Tally::default(),
            asked: Tally::default(),
            changes: watch::Sender::new(0),
            dictionaries: Mutex::new(vec![Dictionary::train(seed)]),
            folded: crate::repo::Folded::default(),
            rate: AtomicU64::new(options.rate.into()),
        });
        let mut tasks = JoinSet::new();
        for (host, listener) in listeners.into_iter().enumerate() {
            tasks.spawn(server::accept(Arc::clone(&shared), host, listener));
        }
        tasks.spawn(live(Arc::clone(&shared)));
        Ok(Self { shared, _tasks: tasks })
    }

    /// Where a host answers.
    pub fn address(&self, host: usize) -> SocketAddr {
        self.shared.hosts[host].address
    }

    /// Such as `http://127.0.0.1:20123`.
    pub fn url(&self, host: usize) -> String {
        format!("http://{}", self.address(host))
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.shared.hosts.len()
    }

    /// The world and the logs, as they are now. The world stands still while this is held.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.read()
    }

    /// So many things happen at once.
    pub fn advance(&self, events: usize) {
        self.shared.happen(|world| (0..events).for_each(|_| world.live(now_us())));
    }

    /// Changes the world by hand; every host sends what was added.
    pub fn happen<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.shared.happen(change)
    }

    /// From now on so many events happen in a second.
    pub fn set_rate(&self, rate: u32) {
        self.shared.rate.store(rate.into(), Ordering::Relaxed);
    }

    /// A fault that strikes at the next opportunity: on a connection that is open, or at the next request.
    pub fn inject(&self, host: usize, fault: Fault) {
        match fault {
            Fault::Crash(events) => return self.shared.crash(host, events),
            Fault::Renumber => return self.shared.renumber(host),
            Fault::Incomplete { collections, events } => {
                self.shared.fired.note("incomplete");
                let from = self.shared.read().logs[host].end();
                return self.shared.hosts[host].make_incomplete(collections, from, events);
            }
            fault => lock(&self.shared.hosts[host].injected).push_back(fault),
        }
        self.shared.bump();
    }

    /// An incomplete host is complete again: a client that replays from before gets everything.
    pub fn heal(&self, host: usize) {
        *lock(&self.shared.hosts[host].incomplete) = None;
    }

    /// Cuts all streams of a host without a close frame.
    pub fn cut(&self, host: usize) {
        self.shared.fired.note("cut");
        self.shared.cut(host);
    }

    /// A host that is down cuts its streams and answers nothing; its port still takes connections, and closes them.
    pub fn set_down(&self, host: usize, down: bool) {
        self.shared.hosts[host].down.store(down, Ordering::Relaxed);
        if down {
            self.shared.fired.note("down");
            self.shared.cut(host);
        }
    }

    /// The host forgets all but its newest events.
    pub fn shrink(&self, host: usize, window: usize) {
        let mut state = self.shared.write();
        let State { world, logs } = &mut *state;
        logs[host].habits.window = Some(window);
        logs[host].follow(world);
    }

    /// Another dictionary takes the place of the one in use, which is refused from now on.
    pub fn rotate_dictionary(&self) {
        let mut dictionaries = lock(&self.shared.dictionaries);
        let seed = u64::try_from(dictionaries.len()).expect("few");
        dictionaries.push(Dictionary::train(seed.wrapping_mul(77_777)));
        self.shared.fired.note("dictionary rotated");
    }

    /// The bytes of the dictionary in use.
    pub fn dictionary(&self) -> Vec<u8> {
        self.shared.dictionary().bytes.to_vec()
    }

    /// How many streams a host has had.
    pub fn connections(&self, host: usize) -> u64 {
        self.shared.hosts[host].connections.load(Ordering::Relaxed)
    }

    /// How often each fault has struck.
    pub fn fired(&self) -> BTreeMap<String, u64> {
        self.shared.fired.counts()
    }

    /// How often each method was asked for, on all hosts together, such as `com.atproto.repo.listRecords`.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        self.shared.asked.counts()
    }
}

/// Lets things happen at the rate that is set, in steps of 10 ms.
async fn live(shared: Arc<Shared>) {
    let step = Duration::from_millis(10);
    let mut ticks = tokio::time::interval(step);
    let mut owed = 0;
    loop {
        ticks.tick().await;
        owed += shared.rate.load(Ordering::Relaxed);
        let events = owed / 100;
        owed %= 100;
        if events > 0 {
            shared.happen(|world| (0..events).for_each(|_| world.live(now_us())));
        }
    }
}
