//! What strangers may take of the web side.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "bytes_wind_the_clock_of_a_head",
        file: "src/serve/server/activity.rs",
        find: "self.head_since.get_or_insert(now);",
        replace: "self.head_since = Some(now);",
        models: "a head that comes a byte at a time holds a connection for as long as its client likes",
        tests: &["api::connections::h3_a_head_that_drips_ends_its_connection"],
    },
    Edit {
        name: "idle_connections_kept",
        file: "src/serve/server/activity.rs",
        find: "(self.idle_since(), limits.idle, Closed::Idle),",
        replace: "(None, limits.idle, Closed::Idle),",
        models: "connections without requests add up until none can be taken",
        tests: &["api::connections::h3_a_connection_without_requests_ends"],
    },
    Edit {
        name: "stalled_readers_kept",
        file: "src/serve/server/stream.rs",
        find: "Poll::Pending => self.connection.activity().stalled(Instant::now()),",
        replace: "Poll::Pending => {}",
        models: "a client that never reads holds its answer in memory",
        tests: &["api::connections::h3_readers_that_do_not_read_end"],
    },
    Edit {
        name: "dripping_readers_kept",
        file: "src/serve/server/activity.rs",
        find: "if self.answer_since.is_some() && !self.is_made {",
        replace: "if self.answer_since.is_some() {",
        models: "a client that reads a byte at a time counts as idle, and has no clock",
        tests: &[
            "api::connections::h3_readers_that_drip_end",
            "api::connections::h3_room_is_made_by_what_is_idle_alone",
        ],
    },
    Edit {
        name: "working_connections_evicted",
        file: "src/serve/server/activity.rs",
        find: "self.answer_since.is_none().then_some(self.quiet_since)",
        replace: "Some(self.quiet_since)",
        models: "a crowd of new connections cuts off answers that are being made",
        tests: &["api::connections::h3_room_is_made_by_what_is_idle_alone"],
    },
    Edit {
        name: "one_address_has_all_places",
        file: "src/serve/server/limits.rs",
        find: "(self.connections / 2).max(1)",
        replace: "self.connections",
        models: "one client that keeps all places at work shuts out all others",
        tests: &["api::connections::h3_room_is_made_by_what_is_idle_alone"],
    },
    Edit {
        name: "descriptors_not_raised",
        file: "src/lifecycle/descriptors.rs",
        find: "Rlimit { current: allowed.maximum, ..allowed }",
        replace: "allowed",
        models: "a shell's limit of open files is the limit of clients",
        tests: &["api::connections::h3_an_idle_connection_costs_little"],
    },
    Edit {
        name: "routes_copied_for_each_connection",
        file: "src/serve/server/mod.rs",
        find: "TowerToHyperService::new(self.router.clone())",
        replace: "TowerToHyperService::new(self.router.clone().with_state(()))",
        models: "an idle connection holds a copy of all routes, and a thousand of them all memory",
        tests: &["api::connections::h3_an_idle_connection_costs_little"],
    },
];
