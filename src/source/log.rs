//! Recorded logs: one Jetstream v1 message per line, plain or zstd, from a file or from stdin.
//!
//! Contract: every line that is not empty becomes one message, in order, whatever the pieces in which the input arrives.
//! Memory is bounded by the chunk, the longest line and the queue. Blocking: run it on a thread that may block.

use std::{
    fs::File,
    io::{self, BufRead as _, Cursor, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Bytes;

use super::{Delivery, Dialect};

/// The longest line that is handed over whole. Of a longer one, one byte more than this is handed over, so that the decoder
/// sees that it is too long.
pub const LINE_BYTES_MAX: usize = 5 << 20;
/// How much is read at a time. Large enough that the cost of a chunk is spread over hundreds of lines, small enough that a
/// queue of chunks is little memory.
const CHUNK_BYTES: usize = 256 << 10;
/// The greatest window that a compressed log may ask for, as a power of two: what the zstd tool accepts by default.
const WINDOW_LOG_MAX: u32 = 27;

/// What some editors and shells write at the beginning of a text.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Bytes of the input, compressed if it is.
    pub bytes: u64,
    /// Messages handed over.
    pub messages: u64,
    /// Of them, those cut because their line is too long.
    pub cut: u64,
    /// Whether the input is compressed.
    pub compressed: bool,
}

/// The log cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("the log {} cannot be opened: {error}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Reading failed.
    #[error("the log cannot be read beyond byte {bytes} ({messages} messages were read): {error}")]
    Read {
        /// Bytes of the input that were read.
        bytes: u64,
        /// Messages handed over.
        messages: u64,
        /// Why.
        error: io::Error,
    },
    /// The compressed input ends in the middle of a frame.
    #[error("the compressed log is cut short after byte {bytes}: the {messages} whole lines before that were read")]
    Truncated {
        /// Bytes of the input that were read.
        bytes: u64,
        /// Messages handed over.
        messages: u64,
    },
    /// The input is compressed in a way that is not read here.
    #[error("the log is compressed by gzip: unpack it first, with `gzip -dc FILE | plyr-likes replay -`")]
    Gzip,
    /// The receiver of the deliveries was dropped.
    #[error("reading the log was stopped after {messages} messages")]
    Stopped {
        /// Messages handed over.
        messages: u64,
    },
}

/// An input that is ready to be read.
pub struct OpenLog {
    /// The input.
    pub reader: Box<dyn Read + Send>,
    /// Its size in bytes, where it has one: that of a file.
    pub size: Option<u64>,
}

impl std::fmt::Debug for OpenLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenLog").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Opens a file, or stdin where no path is given.
pub fn open_log(path: Option<&Path>) -> Result<OpenLog, LogError> {
    let Some(path) = path else { return Ok(OpenLog { reader: Box::new(io::stdin()), size: None }) };
    let fail = |error| LogError::Open { path: path.to_owned(), error };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    // A pipe has no size.
    let size = metadata.is_file().then_some(metadata.len());
    Ok(OpenLog { reader: Box::new(file), size })
}

/// Reads a log to its end and hands over its lines as messages, waiting whenever the queue is full. What the input is, plain or
/// zstd, is seen from its first bytes. `progress` gets how many bytes of the input were read so far. On an error, the
/// whole lines before it have been handed over.
pub fn read_log(
    reader: impl Read + Send,
    deliveries: mpsc::Sender<Delivery>,
    progress: impl Fn(u64),
) -> Result<LogSummary, LogError> {
    let mut lines = Lines { deliveries, carry: Vec::new(), skipping: false, summary: LogSummary::default() };
    let mut input = Counted { reader, bytes: 0, progress };
    let outcome = lines.read_all(&mut input);
    lines.summary.bytes = input.bytes;
    let LogSummary { bytes, messages, .. } = lines.summary;
    match outcome {
        Ok(()) => Ok(lines.summary),
        Err(Stop::Unwanted) => Err(LogError::Stopped { messages }),
        Err(Stop::Gzip) => Err(LogError::Gzip),
        Err(Stop::Input(error)) if lines.summary.compressed && error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(LogError::Truncated { bytes, messages })
        }
        Err(Stop::Input(error)) => Err(LogError::Read { bytes, messages, error }),
    }
}

enum Stop {
    Unwanted,
    Gzip,
    Input(io::Error),
}

/// Counts what is read through it.
struct Counted<R, F> {
    reader: R,
    bytes: u64,
    progress: F,
}

impl<R: Read, F: Fn(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.bytes += length as u64;
        (self.progress)(self.bytes);
        Ok(length)
    }
}

/// Cuts the input into lines. A chunk is one allocation, and its lines are slices of it.
struct Lines {
    deliveries: mpsc::Sender<Delivery>,
    /// The beginning of a line whose end has not been read.
    carry: Vec<u8>,
    /// Within the rest of a line that was too long.
    skipping: bool,
    summary: LogSummary,
}

impl Lines {
    fn read_all(&mut self, mut input: impl Read) -> Result<(), Stop> {
        let mut head = Vec::with_capacity(4);
        input.by_ref().take(4).read_to_end(&mut head).map_err(Stop::Input)?;
        if head.starts_with(&GZIP) {
            return Err(Stop::Gzip);
        }
        self.summary.compressed = is_zstd(&head);
        let input = Cursor::new(head).chain(input);
        if self.summary.compressed {
            let mut plain = zstd::Decoder::new(input).map_err(Stop::Input)?;
            plain.window_log_max(WINDOW_LOG_MAX).map_err(Stop::Input)?;
            self.read_plain(plain)
        } else {
            self.read_plain(input)
        }
    }

    fn read_plain(&mut self, mut input: impl Read) -> Result<(), Stop> {
        let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
        input.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head).map_err(Stop::Input)?;
        if head == BYTE_ORDER_MARK {
            head.clear();
        }
        let mut input = Cursor::new(head).chain(input);
        let blank = vec![0; CHUNK_BYTES];
        loop {
            // The beginning of the line stays where it is, however many reads its end takes.
            let mut chunk = std::mem::take(&mut self.carry);
            let carried = chunk.len();
            chunk.extend_from_slice(&blank);
            let length = read_some(&mut input, &mut chunk[carried..]).map_err(Stop::Input)?;
            chunk.truncate(carried + length);
            if length == 0 {
                return self.take_last(chunk);
            }
            self.take_chunk(chunk, carried)?;
        }
    }

    /// Hands over the lines that end in this chunk, and keeps the beginning of the next. No line ends before `fresh`.
    fn take_chunk(&mut self, mut chunk: Vec<u8>, fresh: usize) -> Result<(), Stop> {
        let end = chunk[fresh..].iter().rposition(|byte| *byte == b'\n').map(|place| fresh + place + 1);
        let Some(end) = end else {
            self.keep(chunk);
            return Ok(());
        };
        let rest = chunk.split_off(end);
        let mut messages = Vec::new();
        let chunk = Bytes::from(chunk);
        let mut start = 0;
        let mut newline = fresh + find_newline(&chunk[fresh..]);
        loop {
            self.take_line(chunk.slice(start..newline), &mut messages);
            start = newline + 1;
            if start >= end {
                break;
            }
            newline = start + find_newline(&chunk[start..]);
        }
        self.keep(rest);
        self.hand_over(messages)
    }

    /// The last line need not end in a newline.
    fn take_last(&mut self, line: Vec<u8>) -> Result<(), Stop> {
        let mut messages = Vec::new();
        self.take_line(Bytes::from(line), &mut messages);
        self.hand_over(messages)
    }

    /// Takes a line without its newline.
    fn take_line(&mut self, mut line: Bytes, messages: &mut Vec<Bytes>) {
        // Of a line that grew too long only the beginning was kept, so what it ends in now is not its end.
        let is_whole = !std::mem::take(&mut self.skipping);
        if is_whole && line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        if line.is_empty() {
            return;
        }
        if line.len() > LINE_BYTES_MAX {
            line.truncate(LINE_BYTES_MAX + 1);
            self.summary.cut += 1;
        }
        messages.push(line);
    }

    /// Keeps the beginning of a line, no more of it than is ever handed over.
    fn keep(&mut self, mut line: Vec<u8>) {
        if line.len() > LINE_BYTES_MAX + 1 {
            line.truncate(LINE_BYTES_MAX + 1);
            self.skipping = true;
        }
        self.carry = line;
    }

    fn hand_over(&mut self, messages: Vec<Bytes>) -> Result<(), Stop> {
        if messages.is_empty() {
            return Ok(());
        }
        self.summary.messages += messages.len() as u64;
        let received_at = Instant::now();
        let delivery = Delivery {
            source: 0,
            dialect: Dialect::JetstreamV1,
            opening: None,
            rewound_to: None,
            messages,
            received_at,
        };
        self.deliveries.blocking_send(delivery).map_err(|_| Stop::Unwanted)
    }
}

/// Reads once, unless interrupted. Gives 0 at the end.
fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The place of the first newline, or the length if there is none. The standard library searches with vector
/// instructions here, other than in `position`.
fn find_newline(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    match rest.skip_until(b'\n') {
        Ok(length) if bytes[..length].ends_with(b"\n") => length - 1,
        _ => bytes.len(),
    }
}

/// Whether these are the first bytes of a zstd frame, or of a frame that zstd skips; no JSON begins like either.
fn is_zstd(head: &[u8]) -> bool {
    matches!(head, [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}
