//! Several upstreams at once: who is blind, and what is done about it.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "blind_by_silence_alone",
        file: "src/ingest/failover/comparison.rs",
        find: "            self.judge(source, now);\n",
        replace: "            if self.sides[source].line.is_some_and(|line| line.heard + grace <= now.awake) {\n                self.sides[source].score.sights[0].blind_since_us = Some(now.wall_us);\n            }\n            self.judge(source, now);\n",
        models: "in a quiet night all hosts are blind, and all are exchanged",
        tests: &["pipeline::comparison::t13_silence_is_not_blindness"],
    },
    Edit {
        name: "blindness_by_arrival",
        file: "src/ingest/failover/comparison.rs",
        find: "if written_us > side.proven_us[at] {",
        replace: "if wall_us > side.proven_us[at] {",
        models: "a burst that arrives source by source makes everybody blind",
        tests: &["pipeline::comparison::t15_a_burst_that_comes_source_by_source_blinds_nobody"],
    },
    Edit {
        name: "single_hit_does_not_clear",
        file: "src/ingest/failover/comparison.rs",
        find: "        self.score.sights[collection as usize].blind_since_us = None;\n",
        replace: "",
        models: "a host that sees again stays blind for ever",
        tests: &["pipeline::comparison::t12_three_misses_are_blindness_and_one_delivery_ends_it"],
    },
    Edit {
        name: "hits_between_misses_do_not_count",
        file: "src/ingest/failover/comparison.rs",
        find: "        self.streaks[collection as usize] = Streak::default();\n",
        replace: "",
        models: "three misses in a year are blindness",
        tests: &["pipeline::comparison::t12_misses_with_deliveries_between_them_are_no_row"],
    },
    Edit {
        name: "backlogs_are_owed",
        file: "src/ingest/failover/comparison.rs",
        find: "side.live_since_us().is_some_and(|since_us| since_us <= written_us)",
        replace: "side.live_since_us().is_some()",
        models: "a host that has just been connected owes what was written before",
        tests: &["pipeline::comparison::t12_only_who_had_caught_up_before_it_was_written_owes_it"],
    },
    Edit {
        name: "witnesses_are_judged",
        file: "src/ingest/failover/comparison.rs",
        find: ".filter(|(_, side)| side.is_whole && side.live_since_us()",
        replace: ".filter(|(_, side)| side.live_since_us()",
        models: "a PDS is blind because it carries its own repos alone",
        tests: &["pipeline::comparison::t12_who_carries_a_part_is_a_witness_only"],
    },
    Edit {
        name: "spare_never_started",
        file: "src/ingest/failover/rotation.rs",
        find: "            spare.follow(None);\n",
        replace: "            spare.turn += 1;\n",
        models: "a blind host is let go, and nobody takes its place",
        tests: &["cases::sources::t12_blind_host_is_noticed_rewound_and_replaced"],
    },
    Edit {
        name: "blind_host_is_not_rewound",
        file: "src/ingest/failover/rotation.rs",
        find: "            seat.follow(rewind_to);\n        }\n        Ok(())\n    }\n\n    /// All that it missed",
        replace: "            seat.follow(None);\n        }\n        Ok(())\n    }\n\n    /// All that it missed",
        models: "what a host did not deliver while it was blind is never asked for again",
        tests: &["cases::sources::t12_blind_host_is_noticed_rewound_and_replaced"],
    },
];
