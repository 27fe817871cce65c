//! What an upstream is asked for, and how its messages are read.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "database_stays_where_it_was",
        file: "src/lifecycle/database.rs",
        find: "if self.hosts.len() < 2 || is_primary(&at).await {",
        replace: "if self.hosts.len() < 20 || is_primary(&at).await {",
        models: "a database that has moved to another of its hosts is not followed",
        tests: &["cases::storage::f12_a_database_that_moves_to_another_of_its_hosts_is_followed"],
    },
    Edit {
        name: "divided_connections_taken",
        file: "src/store/server.rs",
        find: "Ok(process(one).await? == process(other).await?)",
        replace: "Ok(process(one).await? != process(other).await? && false)",
        models: "an index works behind a pooler that gives its lease's connection to others",
        tests: &["tools::cli::f5_a_pooler_that_shares_connections_stops_the_start"],
    },
    Edit {
        name: "handshake_headers_are_words",
        file: "src/source/handshake.rs",
        find: "any(|item| item.trim().eq_ignore_ascii_case(token))",
        replace: "all(|item| item.eq_ignore_ascii_case(token))",
        models: "an upstream behind a proxy that adds to the headers of the handshake is never followed",
        tests: &["pipeline::source::faults::f9_the_headers_of_a_handshake_are_lists"],
    },
    Edit {
        name: "firehose_cursor_plus_one",
        file: "src/source/firehose.rs",
        find: "seq: source.number(Dialect::Firehose, position)?.max(0) })",
        replace: "seq: source.number(Dialect::Firehose, position)?.max(0) + 1 })",
        models: "each connection to a relay skips an event",
        tests: &["pipeline::source::asking::firehose_cursor_is_the_committed_number"],
    },
    Edit {
        name: "jetstream_without_a_margin",
        file: "src/source/cursor_strategy.rs",
        find: "let cursor = cursor.rewound(rewind);\n",
        replace: "let cursor = cursor.rewound(rewind / 1_000_000);\n",
        models: "events with the time of the last one, or stamped a little before it, are skipped",
        tests: &["pipeline::source::asking::jetstream_position_is_rewound_by_the_margin"],
    },
    Edit {
        name: "jetstream2_without_a_margin",
        file: "src/source/cursor_strategy.rs",
        find: "(Cursor::At(cursor), None) => return from(cursor.rewound(rewind), None),",
        replace: "(Cursor::At(cursor), None) => return from(cursor, None),",
        models: "what a host gives the numbers of the lost ones after its crash is skipped",
        tests: &[
            "pipeline::source::jetstream_v2::t8_after_a_crash_the_margin_is_read_again_and_after_an_orderly_end_it_is_not",
        ],
    },
    Edit {
        name: "cursor_of_another_dialect",
        file: "src/source/spec.rs",
        find: "if self.dialect == wanted && position.is_of(&self.name, wanted.position_kind()) {",
        replace: "if self.dialect == wanted && position.value >= 0 {",
        models: "microseconds are sent to who takes them for a sequence number of its own",
        tests: &[
            "pipeline::source::asking::t5_a_position_of_another_source_is_never_sent",
            "pipeline::source::asking::t5_cursors_are_made_from_positions_of_their_own_source_only",
        ],
    },
    Edit {
        name: "undecodable_message_dropped",
        file: "src/source/connection.rs",
        find: "Err(Disconnect::Undecodable(format!(\"a compressed message cannot be read: {why}\")))",
        replace: "drop(why);\n                Ok(Bytes::new())",
        models: "a message that was made with another dictionary is lost",
        tests: &["pipeline::source::compression::t17_a_compressed_message_that_cannot_be_read_comes_again_plain"],
    },
    Edit {
        name: "bomb_without_bound",
        file: "src/source/compression.rs",
        find: "self.decompressor.decompress(message, bytes_max)",
        replace: "self.decompressor.decompress(message, bytes_max << 9)",
        models: "two hundred kilobytes become a gigabyte of memory",
        tests: &["pipeline::source::compression::t17_a_zstd_bomb_is_one_message_and_the_connection_lives"],
    },
    Edit {
        name: "deliveries_lost_at_the_end",
        file: "src/source/connection.rs",
        find: "        if !self.pending.is_empty() {\n            let rest",
        replace: "        if self.pending_bytes > DELIVERY_BYTES_MAX {\n            let rest",
        models: "what came just before a close is read and not handed over, so that a host which closes often is never past it",
        tests: &["pipeline::source::faults::t9_firehose_closing_after_every_message_still_makes_progress"],
    },
    Edit {
        name: "rejects_expire_silently",
        file: "src/store/rejects/expired.rs",
        find: "SET count = e.count + EXCLUDED.count,",
        replace: "SET count = e.count,",
        models: "rejects that have expired are not counted",
        tests: &["pipeline::rejects::old_rejects_go_and_stay_counted"],
    },
];
