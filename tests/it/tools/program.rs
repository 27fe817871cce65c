//! Start, stop and sudden ends of the whole program with its private Postgres.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use rustix::process::Signal;

use crate::support::process::{Process, command, get, kill9_postgres, postgres_processes, run, run_well, wait_until};

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";

/// Leaves a row that a later start must find.
fn leave_a_row(data_dir: &Path) {
    run_well(data_dir, &["tokens", "create", "--did", DID, "--expires", "30d"]);
}

fn assert_rows(data_dir: &Path, count: usize) {
    let listed = run_well(data_dir, &["tokens", "list"]);
    assert_eq!(listed.matches(DID).count(), count, "{listed}");
}

#[test]
fn s6_sigterm_stops_everything_that_was_started() {
    let data = tempfile::tempdir().unwrap();
    let program = Process::serve(data.path());
    let (api, admin) = (program.address("api"), program.address("admin"));
    assert_eq!(get(&api, "/health").0, 200);
    let (status, metrics) = get(&admin, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("plyr_rejects_total{reason=\"lexicon\"} 0"), "{metrics}");
    assert!(!postgres_processes(data.path()).is_empty());

    let (status, took, said) = program.terminate();
    assert!(status.success(), "{status}: {said}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(postgres_processes(data.path()).is_empty(), "Postgres was left behind");
    assert_eq!(get(&api, "/health").0, 0);
}

#[test]
fn sigint_during_the_start_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let mut program = Process::start(command(data.path(), &["serve"]));
    program.wait_for("making a database");
    program.signal(Signal::INT);
    assert!(program.wait().success());
    wait_until("Postgres ends", || postgres_processes(data.path()).is_empty());
    let (status, _, said) = Process::serve(data.path()).terminate();
    assert!(status.success(), "{said}");
}

#[test]
fn t2_kill_9_of_the_program_of_postgres_and_of_both() {
    let data = tempfile::tempdir().unwrap();
    let program = Process::serve(data.path());
    leave_a_row(data.path());
    program.kill9();
    assert!(!postgres_processes(data.path()).is_empty(), "nothing was left to be taken over: the test is void");

    let mut program = Process::serve(data.path());
    assert_rows(data.path(), 1);
    leave_a_row(data.path());
    kill9_postgres(data.path());
    program.wait_for("Postgres is back");
    assert_rows(data.path(), 2);
    let api = program.address("api");
    wait_until("the API reaches its database again", || {
        let (status, _) = get(&api, "/tracks/");
        status == 200 || status == 404
    });

    leave_a_row(data.path());
    kill9_postgres(data.path());
    program.kill9();
    let program = Process::serve(data.path());
    assert_rows(data.path(), 3);
    let (status, _, said) = program.terminate();
    assert!(status.success(), "{said}");
    assert!(postgres_processes(data.path()).is_empty());
}

#[test]
fn a_lock_file_with_the_pid_of_another_program_is_no_obstacle() {
    let data = tempfile::tempdir().unwrap();
    leave_a_row(data.path());
    let other = std::process::id();
    let stale = format!("{other}\n/elsewhere\n1700000000\n5432\n/elsewhere\n\n1 1\nready\n");
    std::fs::write(data.path().join("postgres/postmaster.pid"), stale).unwrap();
    assert_rows(data.path(), 1);
}

#[test]
fn a_second_serve_is_refused_and_commands_join() {
    let data = tempfile::tempdir().unwrap();
    let program = Process::serve(data.path());
    let pids = postgres_processes(data.path());
    let second = run(data.path(), &["serve"]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap().contains("another plyr-likes (process"), "{said}");
    assert_eq!(run(data.path(), &["index"]).status.code(), Some(1));

    leave_a_row(data.path());
    assert_rows(data.path(), 1);
    run_well(data.path(), &["status"]);
    assert!(pids.iter().any(|pid| postgres_processes(data.path()).contains(pid)), "a command stopped the server");
    drop(program);
}

#[test]
fn a_position_is_not_set_under_a_running_index() {
    let data = tempfile::tempdir().unwrap();
    let set = ["positions", "set", "jetstream+ws://127.0.0.1:9", "1700000000000000"];
    let program = Process::serve(data.path());
    wait_until("the source is listed", || run_well(data.path(), &["status"]).contains("jetstream+ws://127.0.0.1:9"));
    let refused = run(data.path(), &set);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("is being followed"), "{said}");

    // After a crash the private server has no owner; beside another database, an index that ended says so.
    program.kill9();
    assert!(run_well(data.path(), &set).contains("1700000000000000"));
    let mut program = Process::serve(data.path());
    // Only the one that leads follows a source, and has its heartbeat to end.
    program.wait_for("this indexer leads now");
    program.wait_for("jetstream+ws://127.0.0.1:9");
    program.terminate();
    assert!(run_well(data.path(), &["status"]).contains("silent"));
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output =
        command(data.path(), &["serve"]).env("PLYR_BIND", taken.local_addr().unwrap().to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PLYR_BIND: cannot listen on"), "{said}");
    assert!(!data.path().join("postgres").exists());
}

#[test]
fn s1_a_database_that_is_away_at_the_start_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let mut serve = command(data.path(), &["serve"]);
    serve.env("DATABASE_URL", "postgres://absent@127.0.0.1:9/nothing");
    let mut program = Process::start(serve);
    program.wait_for("the database cannot be reached");
    assert_eq!(get(&program.address("api"), "/ready").0, 503);
    let (status, took, said) = program.terminate();
    assert!(status.success(), "{said}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn the_secret_key_and_the_server_are_for_their_owners_alone() {
    let data = tempfile::tempdir().unwrap();
    let program = Process::serve(data.path());
    let key = data.path().join("secret_key").metadata().unwrap();
    assert_eq!(key.mode() & 0o777, 0o600);
    let server = data.path().join("postgres").metadata().unwrap();
    assert_eq!(server.mode() & 0o777, 0o700);
    assert_ne!(server.uid(), 0, "Postgres runs as root");
    let before = std::fs::read(data.path().join("secret_key")).unwrap();
    drop(program);
    drop(Process::serve(data.path()));
    assert_eq!(std::fs::read(data.path().join("secret_key")).unwrap(), before);
}
