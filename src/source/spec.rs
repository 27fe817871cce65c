use std::{fmt, sync::Arc};

use super::ForeignPosition;
use crate::model::{Position, PositionKind};

/// How an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `GET /subscribe`, JSON.
    JetstreamV1,
    /// `GET /xrpc/network.bsky.jetstream.subscribeEvents`, JSON in an envelope.
    JetstreamV2,
    /// `GET /xrpc/com.atproto.sync.subscribeRepos`, DAG-CBOR.
    Firehose,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::JetstreamV1, Self::JetstreamV2, Self::Firehose];

    /// The number space of its positions.
    pub fn position_kind(self) -> PositionKind {
        match self {
            Self::JetstreamV1 => PositionKind::JetstreamV1Micros,
            Self::JetstreamV2 => PositionKind::JetstreamV2Seq,
            Self::Firehose => PositionKind::FirehoseSeq,
        }
    }

    /// The word before the plus sign of a source setting.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::JetstreamV1 => "jetstream",
            Self::JetstreamV2 => "jetstream2",
            Self::Firehose => "firehose",
        }
    }
}

/// One upstream, as the settings name it: `jetstream+wss://host`, `firehose+ws://127.0.0.1:2583`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceSpec {
    /// How it speaks.
    pub dialect: Dialect,
    /// `wss` or, for local ones, `ws`.
    tls: bool,
    /// Host, with the port if one is given.
    pub host: String,
    /// The setting in its canonical form.
    name: Arc<str>,
}

/// The text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a source: {why}; write jetstream+wss://host, jetstream2+wss://host or firehose+wss://host (ws:// for a local one)"
)]
pub struct SpecError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl SourceSpec {
    /// Takes `dialect+wss://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let fail = |why| SpecError { text: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("there is no ://"))?;
        let (dialect, transport) = scheme.split_once('+').ok_or_else(|| fail("there is no dialect before a +"))?;
        let dialect = Dialect::ALL
            .into_iter()
            .find(|known| known.scheme() == dialect)
            .ok_or_else(|| fail("the dialect is not known"))?;
        let tls = match transport {
            "wss" => true,
            "ws" => false,
            _ => return Err(fail("the transport is neither wss nor ws")),
        };
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(fail("after :// there must be a host and perhaps a port, nothing else"));
        }
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(&host).to_owned();
        let name = format!("{}+{transport}://{host}", dialect.scheme()).into();
        Ok(Self { dialect, tls, host, name })
    }

    /// The start of the address of what the same host answers over HTTP.
    pub(super) fn http_origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// The name of the source in tables, logs and metrics: the setting in its canonical form.
    pub fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// The position that a number of this source is.
    pub fn position(&self, value: i64) -> Position {
        Position { source: self.name(), kind: self.dialect.position_kind(), value }
    }

    /// The number of a position, if it is of this very source and its source speaks the dialect that is wanted.
    pub(super) fn number(&self, wanted: Dialect, position: &Position) -> Result<i64, ForeignPosition> {
        if self.dialect == wanted && position.is_of(&self.name, wanted.position_kind()) {
            Ok(position.value)
        } else {
            Err(ForeignPosition { wanted: self.name(), found: position.clone() })
        }
    }

    /// The start of the websocket's address, without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.host)
    }
}

impl fmt::Display for SourceSpec {
    /// See [`SourceSpec::name`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl std::str::FromStr for SourceSpec {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
