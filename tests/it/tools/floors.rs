//! The floors of the house: a module imports only from lower floors, and siblings do not know each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every module with its floor, and the siblings that it may know.
const MODULES: [(&str, u8, &[&str]); 23] = [
    ("atproto", 0, &[]),
    ("clock", 0, &["atproto"]),
    ("retry", 0, &[]),
    ("model", 1, &[]),
    ("decode", 2, &[]),
    ("source", 3, &[]),
    ("pds", 3, &[]),
    ("store", 3, &[]),
    ("postgres", 3, &[]),
    ("apply", 4, &[]),
    ("identity", 4, &[]),
    ("maintenance", 5, &[]),
    ("ingest", 5, &[]),
    ("crawl", 5, &[]),
    ("oauth", 5, &[]),
    ("publish", 5, &[]),
    ("notify", 5, &[]),
    ("serve", 6, &[]),
    ("telemetry", 7, &[]),
    ("lifecycle", 7, &["telemetry"]),
    ("cli", 7, &["lifecycle", "telemetry"]),
    ("main", 8, &[]),
    ("lib", 8, &[]),
];
/// How rows got there is not for those who answer.
const SERVE_MUST_NOT_KNOW: [&str; 6] = ["source", "pds", "identity", "apply", "ingest", "crawl"];
/// Crates that a floor must never know.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("model", &["tokio", "sqlx", "tokio_tungstenite", "axum", "reqwest"]),
    ("decode", &["tokio", "sqlx", "tokio_tungstenite", "axum", "reqwest"]),
    ("source", &["sqlx", "axum"]),
    ("pds", &["sqlx", "axum"]),
    ("store", &["tokio_tungstenite", "axum", "reqwest"]),
];

/// The families of the store, and which others each may know. All may know the files beside the folders.
const FAMILIES: [(&str, &[&str]); 9] = [
    ("actors", &["records"]),
    ("counts", &[]),
    ("gaps", &[]),
    ("records", &[]),
    ("rejects", &[]),
    ("repos", &[]),
    ("sessions", &[]),
    ("sources", &[]),
    ("views", &["records"]),
];

fn floor(module: &str) -> Option<(u8, &'static [&'static str])> {
    MODULES.iter().find(|(name, ..)| *name == module).map(|(_, floor, siblings)| (*floor, *siblings))
}

/// What is wrong with a module's importing another.
fn objection(module: &str, imported: &str) -> Option<String> {
    let Some((floor_of_module, siblings)) = floor(module) else { return Some("it is on no floor".to_owned()) };
    let Some((floor_of_imported, _)) = floor(imported) else { return Some(format!("{imported} is on no floor")) };
    if module == imported || siblings.contains(&imported) {
        None
    } else if module == "serve" && SERVE_MUST_NOT_KNOW.contains(&imported) {
        Some(format!("serve must not know {imported}"))
    } else if floor_of_imported < floor_of_module {
        None
    } else {
        Some(format!("{imported} is on floor {floor_of_imported}, {module} on floor {floor_of_module}"))
    }
}

/// The first names behind `root` in a source without comments: `root::a::b` gives a, `root::{a::b, c}` gives a and c.
fn names_behind(source: &str, root: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, found) in source.match_indices(root) {
        let before = source[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = source[at + found.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => names.extend(first_name(rest)),
            Some(group) => names.extend(top_of_group(group).filter_map(first_name)),
        }
    }
    names
}

/// The parts of `a::{b, c}, d}` that commas part outside of inner braces: up to the brace that closes the group.
fn top_of_group(group: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.into_iter()
}

fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    let name = &path[..end];
    // A constant, a macro or a type of the crate's root is no module, nor is `self`.
    (name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self").then(|| name.to_owned())
}

fn without_comments(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn modules_import_only_from_lower_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 20, "the sources are not where this test looks");
    let (mut objections, mut imports) = (Vec::new(), 0);
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        let source = without_comments(&fs::read_to_string(&file).unwrap());
        let ours = if module == "main" { "plyr_likes::" } else { "crate::" };
        for imported in names_behind(&source, ours) {
            imports += 1;
            objections.extend(objection(module, &imported).map(|why| format!("{}: {why}", relative.display())));
        }
        for foreign in FOREIGN.iter().filter(|(name, _)| *name == module).flat_map(|(_, foreign)| *foreign) {
            let knows = !names_behind(&source, &format!("{foreign}::")).is_empty()
                || source.contains(&format!("use {foreign}"));
            if knows {
                objections.push(format!("{}: {module} must not know {foreign}", relative.display()));
            }
        }
    }
    assert!(imports > 30, "the imports are not seen any more");
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn families_of_the_store_do_not_know_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let known = |family: &str| FAMILIES.iter().find(|(name, _)| *name == family).map(|(_, known)| *known);
    let mut objections = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let family = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        // Files beside the folders hold what all share; a folder that is in no line of the table is seen here.
        let Some(allowed) = known(family) else {
            assert!(relative.iter().count() == 1, "{} is of no family", relative.display());
            continue;
        };
        let source = without_comments(&fs::read_to_string(&file).unwrap());
        let imported = ["crate::store::", "store::"].into_iter().flat_map(|root| names_behind(&source, root));
        let is_foreign = |name: &String| name != family && known(name).is_some() && !allowed.contains(&name.as_str());
        objections.extend(imported.filter(is_foreign).map(|name| format!("{}: {name}", relative.display())));
    }
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn the_table_is_enforced() {
    let imports = |source: &str| names_behind(source, "crate::").into_iter().collect::<Vec<_>>();
    assert_eq!(imports("use crate::{atproto::{Did, Tid}, store, apply::Batch};"), ["apply", "atproto", "store"]);
    assert_eq!(imports("let x = crate::decode::record::decode_record(); $crate::atproto::Did"), ["atproto", "decode"]);
    assert_eq!(imports("xcrate::serve::run()"), Vec::<String>::new());
    assert!(objection("decode", "store").is_some(), "upwards");
    assert!(objection("source", "store").is_some(), "siblings");
    assert!(objection("serve", "apply").is_some(), "how rows got there");
    assert!(objection("telemetry", "lifecycle").is_some(), "against the grain of the top floor");
    assert!(objection("nowhere", "atproto").is_some() && objection("serve", "nowhere").is_some());
    assert_eq!(objection("apply", "store"), None);
    assert_eq!(objection("clock", "atproto"), None);
}

#[test]
fn the_maps_show_the_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_there = |module: &str| ["", ".rs"].iter().any(|ending| root.join(format!("src/{module}{ending}")).exists());
    for map in ["src/lib.rs", "docs/ARCHITECTURE.md"] {
        let text = fs::read_to_string(root.join(map)).unwrap();
        let rooms = MODULES.iter().filter(|(module, ..)| is_there(module) && !["main", "lib"].contains(module));
        for (module, floor, _) in rooms {
            let begin = format!("| {floor} |");
            let row = text.lines().find(|line| line.trim_start_matches("//! ").starts_with(&begin));
            let is_shown = row.is_some_and(|row| row.contains(&format!("`{module}`")));
            assert!(is_shown, "{map}: {module} is not on floor {floor}");
        }
    }
}
