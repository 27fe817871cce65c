//! A seeded world of atproto repos, served as its upstreams serve it, with faults on demand.
