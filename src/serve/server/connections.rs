//! The open connections of a listener: who is let in, and which one goes when there is no room.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{counter, gauge};
use tokio::{sync::Notify, time::Instant};

use super::{
    activity::{Activity, Closed},
    limits::Limits,
};

/// An open connection, as its task and the table see it.
#[derive(Debug)]
pub struct Connection {
    activity: Mutex<Activity>,
    close: Notify,
}

impl Connection {
    /// What it is doing.
    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it neither makes nor hands over an answer.
    pub fn is_idle(&self) -> bool {
        self.activity().idle_since().is_some()
    }

    /// Waits until it is to be closed at once.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// A request has come; it is in work as long as what is returned.
    pub fn begin(self: &Arc<Self>) -> Work {
        self.activity().begin(Instant::now());
        Work(self.clone())
    }
}

/// A request in work.
#[derive(Debug)]
pub struct Work(Arc<Connection>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.activity().end();
    }
}

/// The open connections of a listener.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    by_id: BTreeMap<u64, (IpAddr, Arc<Connection>)>,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of an open connection, given back when its task ends.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
}

impl Place {
    /// The connection that has it.
    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.remove(self.id);
        self.connections.show(&open);
    }
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        for why in Closed::ALL {
            counter!("plyr_http_connections_closed_total", "listener" => limits.listener, "reason" => why.as_str())
                .increment(0);
        }
        let connections = Self { limits, open: Mutex::default() };
        connections.show(&connections.open());
        connections
    }

    /// A place for a connection from this address. Where there is none, the oldest idle connection makes room: of that address
    /// when it has its share, else of any. None where all of them work.
    pub fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Place> {
        let address = client_of(address);
        let mut open = self.open();
        let of_client = open.by_address.get(&address).copied().unwrap_or_default();
        let has_room = if of_client >= self.limits.per_address() {
            self.evict(&mut open, |of| of == address)
        } else {
            open.by_id.len() < self.limits.connections || self.evict(&mut open, |_| true)
        };
        if !has_room {
            self.count(Closed::Refused);
            return None;
        }
        let connection = Arc::new(Connection { activity: Mutex::new(Activity::new(now)), close: Notify::new() });
        open.last_id += 1;
        let id = open.last_id;
        open.by_id.insert(id, (address, connection.clone()));
        *open.by_address.entry(address).or_default() += 1;
        self.show(&open);
        drop(open);
        Some(Place { connections: self.clone(), id, connection })
    }

    /// Closes the connection that is idle for the longest, of those from such addresses. False where none is idle.
    fn evict(&self, open: &mut Open, is_meant: impl Fn(IpAddr) -> bool) -> bool {
        let meant = open.by_id.iter().filter(|(_, (address, _))| is_meant(*address));
        let idle = meant.filter_map(|(id, (_, connection))| Some((connection.activity().idle_since()?, *id)));
        let Some((_, id)) = idle.min() else { return false };
        self.close(open, id, Closed::Evicted);
        true
    }

    /// Closes what a clock has run out for.
    pub fn close_overdue(&self, now: Instant) {
        let mut open = self.open();
        let overdue = open
            .by_id
            .iter()
            .filter_map(|(id, (_, connection))| Some((*id, connection.activity().overdue(&self.limits, now)?)));
        let overdue: Vec<(u64, Closed)> = overdue.collect();
        for (id, why) in overdue {
            self.close(&mut open, id, why);
        }
        self.show(&open);
    }

    /// Closes them all, also those that work.
    pub fn close_all(&self) {
        for (_, connection) in self.open().by_id.values() {
            connection.close.notify_one();
        }
    }

    /// Its place is free at once: its task ends as soon as it runs.
    fn close(&self, open: &mut Open, id: u64, why: Closed) {
        if let Some(connection) = open.remove(id) {
            connection.close.notify_one();
            self.count(why);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, open: &Open) {
        let count = u32::try_from(open.by_id.len()).unwrap_or(u32::MAX);
        gauge!("plyr_http_connections", "listener" => self.limits.listener).set(count);
    }

    fn count(&self, why: Closed) {
        counter!("plyr_http_connections_closed_total", "listener" => self.limits.listener, "reason" => why.as_str())
            .increment(1);
    }
}

impl Open {
    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let (address, connection) = self.by_id.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(connection)
    }
}

/// What counts as one client: an address, or the 64 bits of an IPv6 address that name a network, whose addresses one host can
/// take at will.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}
