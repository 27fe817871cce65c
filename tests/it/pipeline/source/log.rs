//! Reading recorded logs.

use std::{
    cell::Cell,
    io::{self, Read, Write as _},
};

use plyr_likes::source::{Delivery, Dialect, LINE_BYTES_MAX, LogError, LogSummary, open_log, read_log};
use proptest::{collection::vec, prelude::*};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Bytes;

/// Reads a log with a queue of one delivery, as messages.
fn read(reader: impl Read + Send) -> (Vec<Bytes>, Result<LogSummary, LogError>) {
    let (sender, mut deliveries) = mpsc::channel::<Delivery>(1);
    std::thread::scope(|scope| {
        let outcome = scope.spawn(move || read_log(reader, sender, |_| {}));
        let mut messages = Vec::new();
        while let Some(delivery) = deliveries.blocking_recv() {
            assert_eq!(delivery.dialect, Dialect::JetstreamV1);
            assert!(!delivery.messages.is_empty());
            messages.extend(delivery.messages);
        }
        (messages, outcome.join().expect("no panic"))
    })
}

fn lines(messages: &[Bytes]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(message).expect("text")).collect()
}

/// Gives its bytes in pieces of the given sizes, over and over; a size of 0 is an interrupted read.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [usize],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        if size == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = size.min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("zstd")
}

#[test]
fn newlines_of_both_kinds_empty_lines_and_none_at_the_end() {
    let text = "{1}\r\n\n{2}\n\r\n  \n{3}\r{4}\n\n{5}";
    let (messages, summary) = read(text.as_bytes());
    assert_eq!(lines(&messages), ["{1}", "{2}", "  ", "{3}\r{4}", "{5}"]);
    let expected = LogSummary { bytes: text.len() as u64, messages: 5, cut: 0, compressed: false };
    assert_eq!(summary.expect("read"), expected);
    assert_eq!(lines(&read("a\r".as_bytes()).0), ["a"]);
    for nothing in ["", "\n", "\r\n", "\r"] {
        assert!(read(nothing.as_bytes()).0.is_empty(), "{nothing:?}");
    }
}

/// What some editors and shells write before a text is none of its first line; anywhere else it is.
#[test]
fn f11_a_byte_order_mark_is_not_of_the_first_line() {
    let text = "\u{feff}{1}\n\u{feff}{2}";
    for bytes in [text.as_bytes().to_vec(), compress(text.as_bytes())] {
        for sizes in [&[1][..], &[2, 0], &[usize::MAX]] {
            let (messages, summary) = read(Pieces { bytes: &bytes, sizes, turn: 0 });
            assert_eq!(lines(&messages), ["{1}", "\u{feff}{2}"], "{summary:?}");
        }
    }
    assert!(read("\u{feff}".as_bytes()).0.is_empty());
}

#[test]
fn f12_a_log_compressed_by_gzip_is_no_log() {
    let (messages, summary) = read(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..]);
    assert!(messages.is_empty() && matches!(summary, Err(LogError::Gzip)), "{summary:?}");
}

#[test]
fn many_chunks_keep_every_line() {
    let expected: Vec<String> = (0..60_000).map(|n| format!("{n:0>width$}", width = 10 + n % 37)).collect();
    let text = expected.join("\n");
    for input in [text.as_bytes(), &compress(text.as_bytes())] {
        let (messages, summary) = read(input);
        assert!(lines(&messages) == expected, "{} messages", messages.len());
        assert_eq!(summary.expect("read").bytes, input.len() as u64);
    }
}

#[test]
fn compressed_is_seen_from_the_bytes_and_may_be_of_several_frames() {
    let mut input = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'x', b'y', b'z'];
    input.extend(compress(b"{1}\n{2"));
    input.extend(compress(b"}\n{3}\n"));
    let (messages, summary) = read(&input[..]);
    assert_eq!(lines(&messages), ["{1}", "{2}", "{3}"]);
    assert!(summary.expect("read").compressed);
}

#[test]
fn a_compressed_log_cut_short_gives_its_whole_lines_and_an_error() {
    let expected: Vec<String> = (0..100_000_u64).map(|n| (n * n * 7919 % 1_000_003).to_string()).collect();
    let whole = compress(expected.join("\n").as_bytes());
    let mut most = 0;
    for cut in [5, whole.len() / 2, whole.len() - 1] {
        let (messages, outcome) = read(&whole[..cut]);
        assert!(lines(&messages) == expected[..messages.len()], "only whole lines, in order");
        let error = outcome.expect_err("it is cut short");
        assert!(
            matches!(error, LogError::Truncated { bytes, messages: count }
            if bytes == cut as u64 && count == messages.len() as u64),
            "{error:?}"
        );
        assert!(error.to_string().starts_with("the compressed log is cut short after byte"), "{error}");
        most = most.max(messages.len());
    }
    assert!(most > 50_000, "what was whole was handed over: {most}");
}

#[test]
fn a_compressed_log_that_is_broken_or_wants_too_much_memory_is_an_error() {
    let mut broken = compress("{\"a\":1}\n".repeat(10_000).as_bytes());
    let middle = broken.len() / 2;
    broken[middle..].fill(0xff);
    // A frame header that asks for a window of two gigabytes.
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    for input in [&broken[..], &greedy[..]] {
        let error = read(input).1.expect_err("broken");
        assert!(matches!(error, LogError::Read { .. }), "{error:?}");
    }
}

#[test]
fn a_line_beyond_the_bound_is_cut_and_the_next_is_whole() {
    let mut text = b"{1}\n".to_vec();
    text.resize(text.len() + LINE_BYTES_MAX, b'm');
    text.extend_from_slice(b"\r\n");
    text.resize(text.len() + LINE_BYTES_MAX + 1, b'x');
    text.extend_from_slice(b"\r\n{2}\n");
    text.resize(text.len() + 4 * LINE_BYTES_MAX, b'\r');
    text.extend_from_slice(b"\n{3}\n");
    text.resize(text.len() + 2 * LINE_BYTES_MAX, b'y');
    for sizes in [vec![1 << 20], vec![LINE_BYTES_MAX + 5, 1, 77_777], vec![65_536, 0]] {
        let (messages, summary) = read(Pieces { bytes: &text, sizes: &sizes, turn: 0 });
        let lengths: Vec<_> = messages.iter().map(Bytes::len).collect();
        let cut = LINE_BYTES_MAX + 1;
        assert_eq!(lengths, [3, LINE_BYTES_MAX, cut, 3, cut, 3, cut], "{sizes:?}");
        assert_eq!(messages[3], "{2}");
        assert_eq!(messages[5], "{3}");
        assert_eq!(summary.expect("read").cut, 3);
    }
}

#[test]
fn an_endless_line_takes_bounded_memory() {
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.0);
            assert!(buffer.len() < 1 << 20, "the buffer does not grow with the line");
            self.0 -= length;
            Ok(length)
        }
    }
    let (messages, summary) = read(Endless(50 << 20));
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].len(), LINE_BYTES_MAX + 1);
    assert_eq!(summary.expect("read").bytes, 50 << 20);
}

#[test]
fn progress_counts_the_bytes_of_the_input() {
    let input = compress("{\"a\":1}\n".repeat(100_000).as_bytes());
    let (sender, mut deliveries) = mpsc::channel(1000);
    let reported = Cell::new(0);
    read_log(&input[..], sender, |bytes| {
        assert!(bytes >= reported.get());
        reported.set(bytes);
    })
    .expect("read");
    assert_eq!(reported.get(), input.len() as u64);
    deliveries.close();
}

#[test]
fn it_stops_when_the_receiver_is_dropped() {
    let (sender, deliveries) = mpsc::channel(1);
    drop(deliveries);
    let error = read_log(&b"{1}\n"[..], sender, |_| {}).expect_err("the receiver is gone");
    assert!(matches!(error, LogError::Stopped { .. }));
}

#[test]
fn opening_gives_the_size_of_a_file_and_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.jsonl");
    std::fs::File::create(&path).expect("a file").write_all(b"{1}\n{2}\n").expect("written");
    let log = open_log(Some(&path)).expect("it is there");
    assert_eq!(log.size, Some(8));
    assert_eq!(lines(&read(log.reader).0), ["{1}", "{2}"]);
    assert!(open_log(Some(folder.path())).is_err(), "a folder");
    let missing = open_log(Some(&folder.path().join("missing"))).expect_err("it is not there").to_string();
    assert!(missing.contains("missing cannot be opened"), "{missing}");
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\r'), Just(b'x'), Just(0xff), Just(b'{'), Just(b' ')], 0..12)
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_lines(
        all in vec((line(), any::<bool>()), 0..40),
        ends in any::<bool>(),
        compressed in any::<bool>(),
        sizes in vec(prop_oneof![Just(0_usize), 1..9_usize, 1..200_usize], 1..20),
    ) {
        prop_assume!(sizes.iter().any(|size| *size > 0));
        let mut text = Vec::new();
        let mut expected = Vec::new();
        for (place, (line, crlf)) in all.iter().enumerate() {
            text.extend_from_slice(line);
            let last = place + 1 == all.len() && !ends;
            if !last {
                text.extend_from_slice(if *crlf { b"\r\n" } else { b"\n" });
            }
            let is_crlf = *crlf && !last;
            let line = if is_crlf { &line[..] } else { line.strip_suffix(b"\r").unwrap_or(line) };
            if !line.is_empty() {
                expected.push(line.to_vec());
            }
        }
        let input = if compressed { compress(&text) } else { text };
        let (messages, summary) = read(Pieces { bytes: &input, sizes: &sizes, turn: 0 });
        prop_assert_eq!(messages.iter().map(|message| message.to_vec()).collect::<Vec<_>>(), expected);
        prop_assert_eq!(summary.expect("read").bytes, input.len() as u64);
    }
}
