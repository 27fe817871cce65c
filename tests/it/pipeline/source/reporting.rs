//! What a source reports: state, log lines, metrics.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusBuilder;
use plyr_likes::source::{Connection, Dialect, Tuning};

use super::{Setting, quick};
use crate::support::upstream::{Act, Upstream};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, part: &str) -> usize {
        let bytes = self.0.lock().expect("no panic").clone();
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(part)).count()
    }
}

/// Follows an upstream that fails ten times and then works; gives what was logged.
async fn log_of_an_outage(warn_interval: Duration) -> Lines {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let upstream = Upstream::start(|request| match request.connection {
        0 | 11.. => vec![Act::Text("x".into()), Act::WaitForGo, Act::Close(1001)],
        _ => vec![Act::Answer { status: 503, headers: Vec::new(), body: String::new() }],
    })
    .await;
    let tuning = Tuning { warn_interval, ..quick() };
    let mut followed = Setting { tuning, ..Setting::of(Dialect::JetstreamV1) }.follow(&upstream);
    followed.texts(1).await;
    upstream.go();
    followed.wait_for_reason("503").await;
    followed.texts(1).await;
    assert_eq!(upstream.requests().len(), 12);
    followed.stop().await;
    lines
}

#[tokio::test]
async fn an_outage_is_warned_about_once_in_an_interval() {
    let lines = log_of_an_outage(Duration::from_mins(1)).await;
    assert_eq!(lines.count("WARN"), 1);
    assert_eq!(lines.count("connected url"), 0);
    assert_eq!(lines.count(" connected "), 2, "the first connection, and the one after the warning");
    let lines = log_of_an_outage(Duration::ZERO).await;
    assert_eq!(lines.count("WARN"), 11);
    assert_eq!(lines.count("failures=1"), 11);
}

#[test]
fn metrics_are_by_source() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let upstream = Upstream::start(|request| match request.connection {
                0 => vec![Act::Text("12345".into()), Act::Close(1001)],
                _ => vec![Act::Text("678".into()), Act::Stay],
            })
            .await;
            let mut followed = Setting::of(Dialect::JetstreamV1).follow(&upstream);
            followed.texts(2).await;
            followed.wait_for(|connection| *connection == Connection::Connected).await;
            assert!(
                handle
                    .render()
                    .contains(&format!("plyr_source_connected{{source=\"jetstream+ws://{}\"}} 1", upstream.address))
            );
            followed.stop().await;
            upstream.address
        })
    });
    let rendered = handle.render();
    for (name, value) in [("connected", 0), ("reconnects_total", 1), ("messages_total", 2), ("bytes_total", 8)] {
        let line = format!("plyr_source_{name}{{source=\"jetstream+ws://{address}\"}} {value}");
        assert!(rendered.lines().any(|rendered| rendered == line), "{line} is not in\n{rendered}");
    }
}
