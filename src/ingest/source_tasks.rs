use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    connection_state::ConnectionStateWriter,
    failover::{ManagedSource, Monitored, Runner},
    lag::{LagStart, Lags},
    options::Options,
    tasks::Tasks,
};
use crate::{
    atproto::Timestamp,
    model::Position,
    source::{Connection, Delivery, Dialect, Follow, SourceSpec},
    store::{Leader, sources::positions::StoredPosition},
};

/// Starts the tasks of the sources and standbys, and holds what each gives to the other parts, by its place.
pub struct SourceTasks<'a> {
    /// What to follow.
    pub options: &'a Options,
    /// Who writes the connections' states.
    pub leader: &'a Leader,
    /// Stops the sources.
    pub cancel: &'a CancellationToken,
    /// To the pump.
    pub deliveries: mpsc::Sender<Delivery>,
    /// How far each source is behind.
    pub lags: Arc<Lags>,
    /// Where each source learns its committed position.
    pub committed: Vec<watch::Sender<Option<Position>>>,
    /// What failover decides about.
    pub managed: Vec<ManagedSource>,
    /// What failover compares.
    pub monitored: Vec<Monitored>,
}

impl<'a> SourceTasks<'a> {
    /// None yet.
    pub fn new(
        options: &'a Options,
        leader: &'a Leader,
        deliveries: mpsc::Sender<Delivery>,
        lags: Arc<Lags>,
        cancel: &'a CancellationToken,
    ) -> Self {
        let (committed, managed, monitored) = Default::default();
        Self { options, leader, cancel, deliveries, lags, committed, managed, monitored }
    }

    /// Starts the tasks of the next source.
    pub fn start(&mut self, spec: SourceSpec, stored: Option<&StoredPosition>, tasks: &mut Tasks) {
        let place = self.committed.len();
        let name = spec.name();
        let position = stored.map(|row| Position { source: spec.name(), kind: row.kind, value: row.value });
        let (committed, committed_receiver) = watch::channel(position);
        let (connection, connection_receiver) = watch::channel(Connection::Starting);
        let (managed, duty) = ManagedSource::new(&spec, place < self.options.sources.len());
        self.committed.push(committed);
        self.managed.push(managed);
        // A relay carries the network, a PDS only its own repos, and a firehose does not say which of them it is.
        let carries_all = spec.dialect != Dialect::Firehose;
        self.monitored.push(Monitored { connection: connection_receiver.clone(), carries_all });
        let behind_since = self.lags.add(LagStart {
            name: spec.name(),
            connection: connection_receiver.clone(),
            event_at: stored.and_then(|row| row.event_at).map(Timestamp::from_utc),
            stored_at: stored.map(|row| Timestamp::from_utc(row.updated_at)),
            complete_until: stored.and_then(|row| row.complete_until).map(Timestamp::from_utc),
        });
        let follow = Follow {
            index: place,
            spec,
            collections: self.options.collections.clone(),
            start: self.options.start,
            committed: committed_receiver,
            deliveries: self.deliveries.clone(),
            connection,
            tuning: self.options.tuning.clone(),
            clock: self.leader.clock.clone(),
        };
        tasks.spawn("follows a source", Runner { follow, duty }.run(self.cancel.clone()));
        let states =
            ConnectionStateWriter { leader: self.leader.clone(), name, lags: self.lags.clone(), place, behind_since };
        tasks.spawn_fallible("stores a source's state", states.run(connection_receiver));
    }
}
