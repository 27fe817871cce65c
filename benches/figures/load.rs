//! A load of HTTP requests over kept connections, closed-loop or at a given rate.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Requests to send, over and over, and how.
#[derive(Clone)]
pub struct Load {
    /// `host:port`.
    pub address: String,
    /// Whole requests, taken in turn.
    pub requests: Arc<[Vec<u8>]>,
    /// Connections that each have one request under way.
    pub connections: u32,
    /// How long.
    pub duration: Duration,
}

/// What a load has seen.
pub struct Outcome {
    /// Answers per second.
    pub rate: f64,
    /// Seconds of each answer, in order of size: from when the request was due.
    pub latencies_s: Vec<f64>,
}

impl Outcome {
    /// The latency that all but so many of a hundred stay under, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        self.latencies_s[(self.latencies_s.len() * percent / 100).min(self.latencies_s.len() - 1)] * 1e3
    }
}

impl Load {
    /// Runs it: as fast as the answers come, or, with an interval, with one request due per connection and interval, whether or
    /// not the one before has been answered in time.
    pub async fn run(&self, interval: Option<Duration>) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..self.connections {
            let load = self.clone();
            let offset = interval.unwrap_or_default() * number / self.connections;
            clients.spawn(async move { load.run_connection(number as usize, started + offset, interval).await });
        }
        let mut latencies_s = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies_s.extend(client??);
        }
        latencies_s.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let rate = latencies_s.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Outcome { rate, latencies_s })
    }

    async fn run_connection(
        self,
        first: usize,
        start: Instant,
        interval: Option<Duration>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut latencies_s = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut due = start;
        for request in self.requests.iter().cycle().skip(first) {
            let asked = if let Some(interval) = interval {
                tokio::time::sleep_until(due.into()).await;
                let asked = due;
                due += interval;
                asked
            } else {
                Instant::now()
            };
            if asked >= start + self.duration {
                break;
            }
            stream.write_all(request).await?;
            read_answer(&mut stream, &mut buffer).await?;
            latencies_s.push(asked.elapsed().as_secs_f64());
        }
        Ok(latencies_s)
    }
}

/// Reads one answer to its end; anything but 200 is an error.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        filled += read;
        let text = std::str::from_utf8(&buffer[..filled])?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{text}");
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .ok_or_else(|| anyhow::anyhow!("no content-length in {head}"))?
                .1
                .trim()
                .parse()?;
            if body.len() >= length {
                return Ok(());
            }
        }
    }
}
