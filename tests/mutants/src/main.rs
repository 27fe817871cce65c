//! Applies plausible bugs to a copy of the tree, one at a time, and sees whether the tests notice.
//!
//! A mutant is one edit of our own code with the failure it models and the tests that must fail with it. A mutant whose text is no
//! longer in the code, or whose tests are gone, is stale, and fails the run before anything is built.

mod edits;
mod tree;

use std::{process::ExitCode, time::Instant};

use anyhow::{Context as _, bail, ensure};

use edits::Edit;
use tree::{MANY_TESTS_MAX, Outcome, TESTS_MAX, Tree};

const USAGE: &str = "\
Usage: plyr-likes-mutants [--check | --list | --sample COUNT | --only NAME...]

Without an option all mutants are applied, one after the other, and the score is printed.

  --check         only look whether a mutant is stale
  --list          print the mutants and the failures that they model
  --sample COUNT  apply so many of them, others each day
  --only NAME...  apply these

PLYR_TEST_SERVER_URL names a Postgres to make databases on, as for the tests, and DATABASE_URL one with the schema, since
mutants of SQL are checked as any SQL is. `make mutants` provides both.";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = tree::find_root()?;
    check(&root)?;
    match words.as_slice() {
        ["--check"] => {
            println!("{} mutants, none of them stale", edits::all().len());
            Ok(())
        }
        ["--list"] => {
            for edit in edits::all() {
                println!("{:44} {}", edit.name, edit.models);
            }
            Ok(())
        }
        ["--sample", count] => {
            let count: usize = count.parse().context("--sample takes a number")?;
            hunt(&root, &sample(count)?)
        }
        ["--only", names @ ..] if !names.is_empty() => hunt(&root, &named(names)?),
        [] => hunt(&root, &edits::all()),
        _ => bail!("{USAGE}"),
    }
}

/// Fails when a mutant's text is not exactly once in its file, or a test that it names is not there.
fn check(root: &std::path::Path) -> anyhow::Result<()> {
    let tests = tree::read_tests(root)?;
    let (all, mut stale) = (edits::all(), Vec::new());
    for edit in &all {
        let text = std::fs::read_to_string(root.join(edit.file)).unwrap_or_default();
        let found = text.matches(edit.find).count();
        if found != 1 {
            stale.push(format!("{}: its text is {found} times in {}, and must be there once", edit.name, edit.file));
        }
        if edit.find == edit.replace {
            stale.push(format!("{}: it changes nothing", edit.name));
        }
        for test in edit.tests {
            let function = test.rsplit("::").next().unwrap_or(test);
            if !tests.contains(&format!("fn {function}")) {
                stale.push(format!("{}: there is no test {test}", edit.name));
            }
        }
        let same_name = all.iter().filter(|other| other.name == edit.name).count();
        ensure!(same_name == 1, "{} mutants are called {}", same_name, edit.name);
        ensure!(!edit.tests.is_empty(), "{}: it names no test", edit.name);
    }
    ensure!(stale.is_empty(), "stale:\n{}", stale.join("\n"));
    Ok(())
}

/// The mutants of these names.
fn named(names: &[&str]) -> anyhow::Result<Vec<&'static Edit>> {
    let all = edits::all();
    let find = |name: &&str| all.iter().copied().find(|edit| edit.name == *name);
    names.iter().map(|name| find(name).with_context(|| format!("no mutant is called {name}; see --list"))).collect()
}

/// So many mutants, spread over the list, beginning elsewhere each day.
fn sample(count: usize) -> anyhow::Result<Vec<&'static Edit>> {
    ensure!(count > 0, "a sample has at least one");
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let day = usize::try_from(seconds / 86_400)?;
    let all = edits::all();
    let stride = (all.len() / count).max(1);
    Ok((0..count.min(all.len())).map(|at| all[(day + at * stride) % all.len()]).collect())
}

/// A test failed.
const KILLED: &str = "killed";
/// A test did not end.
const KILLED_BY_TIME: &str = "killed (time)";

/// Applies each, and prints what became of it and the score. Fails unless all are killed.
fn hunt(root: &std::path::Path, mutants: &[&Edit]) -> anyhow::Result<()> {
    let tree = Tree::copy_of(root)?;
    let mut wanted: Vec<&str> = mutants.iter().flat_map(|edit| edit.tests).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    match tree.test(&wanted, MANY_TESTS_MAX)? {
        Outcome::Passed => println!("{} tests pass on the code as it is", wanted.len()),
        Outcome::Failed(log) => bail!("the tests must pass before mutants can be judged:\n{log}"),
        Outcome::TimedOut(log) => bail!("the tests must end in time before mutants can be judged:\n{log}"),
        Outcome::NotBuilt(log) => bail!("the code as it is does not build:\n{log}"),
    }
    let mut alive = Vec::new();
    for edit in mutants {
        let began = Instant::now();
        let outcome = tree.with(edit, || tree.test(edit.tests, TESTS_MAX))?;
        let (word, log) = match outcome {
            Outcome::Failed(_) => (KILLED, None),
            Outcome::TimedOut(_) => (KILLED_BY_TIME, None),
            Outcome::Passed => ("ALIVE", None),
            Outcome::NotBuilt(log) => ("does not build", Some(log)),
        };
        println!("{word:13} {:44} {:3} s  {}", edit.name, began.elapsed().as_secs(), edit.models);
        if let Some(log) = log {
            println!("{log}");
        }
        if ![KILLED, KILLED_BY_TIME].contains(&word) {
            alive.push(edit.name);
        }
    }
    println!("score: {} of {} killed", mutants.len() - alive.len(), mutants.len());
    ensure!(alive.is_empty(), "not killed: {}", alive.join(", "));
    Ok(())
}
