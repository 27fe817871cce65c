//! One websocket connection: the host's log from a cursor on, and everything that goes wrong on the way.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncWriteExt as _, BufStream},
    net::TcpStream,
    sync::watch,
    time::{Instant, Interval},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Bytes, Message, protocol::CloseFrame},
};

use crate::{
    fault::{Fault, When},
    frames::HostEvent,
    sim::{Host, Shared},
    view::{Dialect, View},
};

/// The most events that are encoded while the world stands still.
const CHUNK: usize = 256;

/// The connection is over.
pub(crate) struct Over;

type Step = Result<(), Over>;

/// A connection.
pub(crate) struct Session {
    pub shared: Arc<Shared>,
    pub host: usize,
    pub view: View,
    pub socket: WebSocketStream<BufStream<TcpStream>>,
    /// The next place of the host's log.
    pub next: u64,
    /// Events at these places come after the next one, or not at all.
    pub seam: Seam,
    /// A message that comes later than it should.
    pub held: Vec<Message>,
    /// How many events were sent.
    pub sent: u64,
    pub began: Instant,
    pub cuts: watch::Receiver<u64>,
}

/// What goes wrong where the replay ends.
#[derive(Debug, Default)]
pub(crate) struct Seam {
    pub at: u64,
    pub lost: u64,
    pub swapped: bool,
}

impl Session {
    fn host(&self) -> &Host {
        &self.shared.hosts[self.host]
    }

    /// Serves until one side ends it.
    pub(crate) async fn run(mut self) {
        let mut changes = self.shared.changes.subscribe();
        let mut pings = tokio::time::interval(Duration::from_secs(30));
        pings.reset();
        // However it ends, there is nothing left to say.
        let _: Step = async {
            loop {
                changes.borrow_and_update();
                self.strike_injected().await?;
                let events = self.read();
                if events.is_empty() {
                    self.release().await?;
                    self.flush().await?;
                    self.wait(&mut changes, &mut pings).await?;
                }
                for (place, messages) in events {
                    self.deliver(place, messages).await?;
                }
                self.flush().await?;
                self.listen()?;
            }
        }
        .await;
    }

    /// The next events, encoded.
    fn read(&mut self) -> Vec<(u64, Vec<Message>)> {
        let shared = Arc::clone(&self.shared);
        let state = shared.read();
        let log = &state.logs[self.host];
        let first = self.next.max(log.begin());
        self.next = first;
        let mut encoded = Vec::new();
        for (place, entry) in (first..).zip(log.from(first).take(CHUNK)) {
            let event = &state.world.events()[crate::world::index(entry.event)];
            let mut hidden = 0;
            let withheld = shared.hosts[self.host].withheld_at(place);
            let messages =
                self.view.messages(&HostEvent { world: &state.world, event, entry }, (&withheld, &mut hidden));
            if hidden > 0 {
                shared.fired.note("incomplete");
            }
            encoded.push((place, messages));
            self.next = place + 1;
        }
        encoded
    }

    /// Sends what an event came to, with what goes wrong at it.
    async fn deliver(&mut self, place: u64, messages: Vec<Message>) -> Step {
        if (self.seam.at..self.seam.at + self.seam.lost).contains(&place) {
            self.shared.fired.note("seam loss");
            return Ok(());
        }
        self.sent += 1;
        let mut again = None;
        for fault in self.due(place) {
            match fault {
                Fault::Lose if !messages.is_empty() => {
                    self.shared.fired.note("lose");
                    return Ok(());
                }
                Fault::Duplicate | Fault::Again(_) => again = Some(fault),
                Fault::Swap if !messages.is_empty() && self.held.is_empty() => {
                    self.shared.fired.note("swap");
                    self.held = messages;
                    return Ok(());
                }
                Fault::Lose | Fault::Swap => {}
                fault => self.strike(fault, place).await?,
            }
        }
        if self.seam.swapped && place + 1 == self.seam.at && !messages.is_empty() {
            self.shared.fired.note("seam swap");
            self.held = messages;
            return Ok(());
        }
        for message in &messages {
            self.send(message.clone()).await?;
        }
        if !messages.is_empty() {
            self.release().await?;
        }
        match again {
            Some(Fault::Duplicate) if !messages.is_empty() => {
                self.shared.fired.note("duplicate");
                for message in messages {
                    self.send(message).await?;
                }
            }
            Some(fault @ Fault::Again(_)) => self.strike(fault, place).await?,
            _ => {}
        }
        Ok(())
    }

    /// The faults that strike at this place.
    fn due(&self, place: u64) -> Vec<Fault> {
        let host = self.host();
        let mut due = Vec::new();
        for (number, (when, fault)) in host.plan.faults.iter().enumerate() {
            if fault.at_request() {
                continue;
            }
            let strikes = match when {
                When::At(at) => place == *at && host.once(number),
                When::Every(events) => self.sent.is_multiple_of(*events),
                When::EveryMs(ms) => self.began.elapsed() >= Duration::from_millis(*ms),
                When::OneIn(events) => host.one_in(*events),
            };
            if strikes {
                due.push(fault.clone());
            }
        }
        due
    }

    async fn strike_injected(&mut self) -> Step {
        while let Some(fault) = self.host().take_injected() {
            match fault {
                Fault::Duplicate => self.strike(Fault::Again(1), self.next).await?,
                fault => self.strike(fault, self.next).await?,
            }
        }
        Ok(())
    }

    /// Lets a fault strike that is not about a single message.
    async fn strike(&mut self, fault: Fault, place: u64) -> Step {
        let name = fault.name();
        let shared = Arc::clone(&self.shared);
        let note = || shared.fired.note(&name);
        match fault {
            Fault::Again(events) => {
                note();
                let onward = self.next;
                self.next = place.saturating_sub(events);
                while self.next < place {
                    for (_, messages) in self.read() {
                        for message in messages {
                            self.send(message).await?;
                        }
                    }
                }
                self.next = onward;
            }
            Fault::Incomplete { collections, events } => {
                note();
                self.host().make_incomplete(collections, place, events);
            }
            Fault::Close(1006) => {
                note();
                self.flush().await?;
                let _ = self.socket.get_mut().shutdown().await;
                return Err(Over);
            }
            Fault::Close(code) => {
                note();
                return self.close(code).await;
            }
            Fault::Reset => {
                note();
                self.flush().await?;
                let stream = self.socket.get_mut();
                // A frame of 1,000 bytes, of which 500 come.
                let _ = stream.write_all(&[0x81, 126, 0x03, 0xe8]).await;
                let _ = stream.write_all(&[b'x'; 500]).await;
                let _ = stream.flush().await;
                let _ = stream.get_ref().set_zero_linger();
                return Err(Over);
            }
            Fault::Silence => {
                note();
                self.flush().await?;
                let _ = self.cuts.changed().await;
                return Err(Over);
            }
            Fault::Stall(ms) => {
                note();
                self.flush().await?;
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Fault::TooSlow => {
                note();
                if let Some(error) = self.view.error("ConsumerTooSlow") {
                    self.send(error).await?;
                    return self.close(1008).await;
                }
                self.flush().await?;
                return Err(Over);
            }
            Fault::Garbage(garbage) => {
                note();
                let message = self.view.garbage(garbage);
                self.send(message).await?;
            }
            Fault::Crash(events) => {
                self.shared.crash(self.host, events);
                return Err(Over);
            }
            Fault::Renumber => {
                self.shared.renumber(self.host);
                return Err(Over);
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) async fn close(&mut self, code: u16) -> Step {
        let frame = CloseFrame { code: code.into(), reason: "as planned".into() };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
        let answer = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), answer).await;
        Err(Over)
    }

    async fn release(&mut self) -> Step {
        for message in std::mem::take(&mut self.held) {
            self.send(message).await?;
        }
        Ok(())
    }

    pub(crate) async fn send(&mut self, message: Message) -> Step {
        self.socket.feed(message).await.map_err(|_| Over)
    }

    async fn flush(&mut self) -> Step {
        if self.cuts.has_changed().unwrap_or(true) {
            return Err(Over);
        }
        self.socket.flush().await.map_err(|_| Over)
    }

    /// Takes what the client has said meanwhile.
    fn listen(&mut self) -> Step {
        while let Some(message) = self.socket.next().now_or_never() {
            match message {
                Some(Ok(message)) => self.receive(&message)?,
                _ => return Err(Over),
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: &Message) -> Step {
        match (message, self.view.dialect) {
            (Message::Text(text), Dialect::V1 { .. }) => {
                self.view.update(text);
                Ok(())
            }
            (Message::Text(_) | Message::Binary(_), _) => {
                self.shared.fired.note("client spoke");
                let frame = CloseFrame { code: 1008.into(), reason: "push only".into() };
                let _ = self.socket.send(Message::Close(Some(frame))).now_or_never();
                Err(Over)
            }
            (Message::Close(_), _) => Err(Over),
            _ => Ok(()),
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, changes: &mut watch::Receiver<u64>, pings: &mut Interval) -> Step {
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| Over),
            _ = self.cuts.changed() => Err(Over),
            _ = pings.tick() => {
                self.socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.map_err(|_| Over)
            }
            message = self.socket.next() => match message {
                Some(Ok(message)) => self.receive(&message),
                _ => Err(Over),
            },
        }
    }
}
