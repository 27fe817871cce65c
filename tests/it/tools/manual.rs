//! What the documents and the folder `deploy` say of settings, metrics, commands and cases, compared with the program.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::{
    database::fresh,
    process::run_well,
    program::{Program, Settings},
};

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
    let calls = source.split("describe_").filter_map(|call| call.split_once("!("));
    let described = calls.filter(|(kind, _)| ["counter", "gauge", "histogram"].contains(kind));
    described.filter_map(|(_, rest)| rest.split('"').nth(1)).map(str::to_owned).collect()
}

/// A default as help and table may both write it.
fn plain(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace(['`', '<', '>'], "").trim_start_matches(": ").to_owned()
}

#[test]
fn the_table_of_settings_is_the_help() {
    let help = run_well(Path::new("data"), &["--help"]);
    let mut settings = words(&help, "PLYR_");
    settings.insert("DATABASE_URL".to_owned());
    assert!(settings.len() > 10, "{help}");
    let page = read("docs/CONFIGURATION.md");
    assert_eq!(table(&page, "## Settings"), settings);
    for setting in settings {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{setting}` | "))).unwrap();
        let of_table = plain(row.split(" | ").next().unwrap());
        let of_help = help.split(&format!("`{setting}`,")).nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        assert_eq!(of_table, plain(of_help).trim_start_matches("default").trim_start_matches([':', ' ']), "{setting}");
    }
}

#[test]
fn the_table_of_metrics_is_what_the_program_describes() {
    assert!(metrics().len() > 10, "the descriptions are not where this test looks");
    assert_eq!(table(&read("docs/OPERATIONS.md"), "## Metrics"), metrics());
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
fn every_command_is_in_the_documents() {
    let help = run_well(Path::new("data"), &["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<String> =
        commands.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    let known: BTreeSet<String> = table(&read("docs/OPERATIONS.md"), "## Commands")
        .into_iter()
        .filter_map(|cell| cell.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(known, commands.into_iter().filter(|name| name != "help").collect());
}

#[test]
fn every_route_is_in_the_documents() {
    let document: Value = serde_json::from_str(&run_well(Path::new("data"), &["openapi"])).unwrap();
    let page = read("docs/API.md");
    let paths = document["paths"].as_object().unwrap();
    let missing: Vec<&String> = paths.keys().filter(|path| !page.contains(path.as_str())).collect();
    assert!(paths.len() > 20 && missing.is_empty(), "not in docs/API.md: {missing:?}");
}

/// The texts of all files under a folder whose names end so, with their paths from the root of the repository.
fn texts(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(texts(&path, ending));
        } else if path.ends_with(ending) {
            found.push((path.clone(), read(&path)));
        }
    }
    found
}

/// The cases that a function names: `a4_a5_only_a_server` is a test of A4 and A5.
fn cases_of(function: &str) -> impl Iterator<Item = String> {
    let is_case = |part: &&str| {
        let number = part.strip_prefix(|c: char| "abhorstwx".contains(c)).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    function.split('_').take_while(is_case).map(str::to_uppercase)
}

#[test]
fn the_cases_that_tests_name_are_in_the_catalogue() {
    let sources = texts("tests/it", ".rs");
    let named: BTreeSet<String> =
        sources.iter().flat_map(|(_, text)| text.split("fn ").skip(1)).flat_map(cases_of).collect();
    let catalogue = read("docs/CASES.md");
    let (tested, planned) = catalogue.split_once("\n## Planned\n").unwrap();
    let rows = |text: &str| -> BTreeSet<String> {
        let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
        cells.filter(|cell| cases_of(&cell.to_lowercase()).next().is_some()).map(str::to_owned).collect()
    };
    let known: BTreeSet<String> = rows(tested).union(&rows(planned)).cloned().collect();
    assert!(named.len() > 50, "the tests are not where this test looks");
    assert!(named.is_subset(&known), "not in docs/CASES.md: {:?}", named.difference(&known));
    assert!(rows(tested).is_subset(&named), "no test: {:?}", rows(tested).difference(&named));
}

/// The addresses of a page's headings, as they are made of their words.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' '));
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|path| (path.to_owned(), read(path)));
    let mut broken = Vec::new();
    for (path, text) in texts("docs", ".md").into_iter().chain(texts("deploy", ".md")).chain(pages) {
        let folder = root.join(&path).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root.join(&path) } else { folder.join(file) };
            let has_heading = || anchors(&fs::read_to_string(&target).unwrap()).contains(heading);
            if !target.exists() || !heading.is_empty() && !has_heading() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn paths_in_the_documents_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let begins = ["src/", "tests/", "benches/", "deploy/", "docs/", ".ci/"];
    let pages = ["README.md", "CONTRIBUTING.md"].map(|path| (path.to_owned(), read(path)));
    let mut missing = Vec::new();
    for (page, text) in texts("docs", ".md").into_iter().chain(pages) {
        let quoted =
            text.split('`').skip(1).step_by(2).filter(|word| begins.iter().any(|begin| word.starts_with(begin)));
        missing.extend(quoted.filter(|path| !root.join(path).exists()).map(|path| format!("{page}: {path}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// What is between angle brackets stands for a value, and so parts what the program really says.
fn literal_parts(message: &str) -> impl Iterator<Item = &str> {
    let parts = message.split('<').enumerate();
    let parts =
        parts.map(|(at, part)| if at == 0 { part } else { part.split_once('>').map_or(part, |(_, rest)| rest) });
    parts.map(|part| part.trim_matches([' ', ':', ','])).filter(|part| part.len() > 3)
}

#[test]
fn troubles_quote_what_the_program_says() {
    let sources: String = texts("src", ".rs").into_iter().map(|(_, text)| text).collect();
    // A literal may go on in the next line.
    let sources = sources.split("\\\n").map(str::trim_start).collect::<String>();
    let page = read("docs/OPERATIONS.md");
    let troubles = page.split("\n## Troubles\n").nth(1).unwrap();
    let cells: Vec<&str> = troubles.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    assert!(cells.len() > 30, "the table is not where this test looks");
    let quoted = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).flat_map(literal_parts);
    let unsaid: Vec<&str> = quoted.filter(|part| !sources.contains(part)).collect();
    assert!(unsaid.is_empty(), "the sources do not say: {unsaid:?}");
}

#[tokio::test]
async fn values_of_labels_are_in_the_documents() {
    let database = fresh().await;
    let settings = Settings::new().with("DATABASE_URL", &database.url);
    let metrics = Program::start("api", &settings).await.metrics().await;
    let page = read("docs/OPERATIONS.md");
    let mut values = BTreeSet::new();
    for label in ["reason", "outcome", "kind", "cause", "state", "queue", "pool"] {
        let begin = format!("{label}=\"");
        values.extend(metrics.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    let unknown: Vec<&&str> = values.iter().filter(|value| !page.contains(&format!("`{value}`"))).collect();
    assert!(values.len() > 40 && unknown.is_empty(), "not in docs/OPERATIONS.md: {unknown:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 160, "README.md has {lines} lines: the rest goes into docs/");
}
