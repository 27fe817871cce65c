//! What the README and the folder `deploy` say of settings, metrics and commands, held against the program.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::process::run_well;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names in backticks that begin the rows of the table under a heading.
fn table(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("there is no {heading}"));
    let section = section.split("\n## ").next().unwrap_or(section);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

/// All words of letters, digits and underscores with that beginning.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(beginning) && *word != beginning).map(str::to_owned).collect()
}

/// The metrics that the program describes.
fn metrics() -> BTreeSet<String> {
    let source = read("src/telemetry.rs");
    let described = source.lines().filter_map(|line| line.trim().strip_prefix("describe_")?.split('"').nth(1));
    described.map(str::to_owned).collect()
}

#[test]
fn the_table_of_settings_is_the_help() {
    let help = run_well(Path::new("data"), &["--help"]);
    let mut settings = words(&help, "PLYR_");
    settings.insert("DATABASE_URL".to_owned());
    assert!(settings.len() > 10, "{help}");
    assert_eq!(table(&read("README.md"), "## Settings"), settings);
}

#[test]
fn the_table_of_metrics_is_what_the_program_describes() {
    assert!(metrics().len() > 10, "the descriptions are not where this test looks");
    assert_eq!(table(&read("README.md"), "## Operating"), metrics());
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let asked: BTreeSet<String> = words(&read("deploy/alerts.yml"), "plyr_")
        .into_iter()
        .map(|name| name.trim_end_matches("_bucket").trim_end_matches("_count").to_owned())
        .collect();
    assert!(asked.len() > 5, "{asked:?}");
    assert!(asked.is_subset(&metrics()), "{:?}", asked.difference(&metrics()));
}

#[test]
fn every_command_is_in_the_readme() {
    let help = run_well(Path::new("data"), &["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<String> =
        commands.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    let known: BTreeSet<String> = table(&read("README.md"), "## Commands")
        .into_iter()
        .filter_map(|cell| cell.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(known, commands.into_iter().filter(|name| name != "help").collect());
}
