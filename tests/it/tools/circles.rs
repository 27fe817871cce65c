//! No circle between files, inside a room either: what a file needs can be read without what needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Item, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module's path below the crate: `["ingest", "pump", "writer"]`.
type Module = Vec<String>;

/// The files of a crate, by their module.
#[derive(Default)]
struct Sources(BTreeMap<Module, Source>);

/// What a file names, as it stands there, and what it imports or re-exports under which name: the files below may use either.
#[derive(Default)]
struct Source {
    named: BTreeSet<Vec<String>>,
    imported: BTreeMap<String, Vec<String>>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.read_folder(folder, &Vec::new());
        sources
    }

    fn read_folder(&mut self, folder: &Path, module: &Module) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                self.read_folder(&path, &[module.as_slice(), &[name]].concat());
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
                let is_folder = ["mod", "lib"].contains(&name.as_str());
                let own = if is_folder { module.clone() } else { [module.as_slice(), &[name]].concat() };
                self.add(own, &fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn add(&mut self, module: Module, text: &str) {
        let mut source = Source::default();
        source.visit_file(&syn::parse_file(text).unwrap());
        self.0.insert(module, source);
    }

    /// The file in which what a path means is written; none where it is not of this crate.
    fn find(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut absolute = match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [from.as_slice(), &path[1..]].concat(),
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                [&from[..from.len().checked_sub(ups)?], &path[ups..]].concat()
            }
            child if self.0.contains_key(&[from.as_slice(), &[child.to_owned()]].concat()) => {
                [from.as_slice(), path].concat()
            }
            _ => return None,
        };
        // What a file imports or re-exports is written elsewhere.
        for _ in 0..10 {
            let length = (0..=absolute.len()).rev().find(|length| self.0.contains_key(&absolute[..*length]))?;
            let module = absolute[..length].to_vec();
            let Some(target) = absolute.get(length).and_then(|name| self.0[&module].imported.get(name)) else {
                return Some(module);
            };
            let rest = absolute[length + 1..].to_vec();
            absolute = [self.find(&module, target)?, target.last().into_iter().cloned().collect(), rest].concat();
        }
        None
    }

    /// The files that each file knows.
    fn arrows(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let known = |module: &Module, source: &Source| {
            let found = source.named.iter().filter_map(|path| self.find(module, path));
            found.filter(|target| target != module).collect::<BTreeSet<_>>()
        };
        self.0.iter().map(|(module, source)| (module, known(module, source))).collect()
    }

    /// Pairs of files that reach each other.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let reached = |from: &Module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = open.pop() {
                for next in arrows.get(&module).into_iter().flatten() {
                    if seen.insert(next.clone()) {
                        open.push(next.clone());
                    }
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> = arrows.keys().map(|module| (*module, reached(module))).collect();
        let direct = arrows.iter().flat_map(|(from, known)| known.iter().map(move |to| (*from, to)));
        let back = direct.filter(|(from, to)| all.get(to).is_some_and(|reached| reached.contains(*from)));
        back.map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect()
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(item) => self.take_use(item),
            // A test inside a file is no part of the house.
            Item::Mod(item) if item.attrs.iter().any(|attribute| attribute.path().is_ident("cfg")) => {}
            _ => visit::visit_item(self, item),
        }
    }

    // `pub(super)` names no file.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.named.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

impl Source {
    fn take_use(&mut self, item: &ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &Vec::new(), &mut paths);
        for (path, name) in paths {
            if matches!(item.vis, Visibility::Inherited) {
                self.named.insert(path.clone());
            }
            self.imported.insert(name, path);
        }
    }
}

/// The paths of a use, each with the name that it brings.
fn flatten(tree: &UseTree, before: &Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
    let with = |name: &syn::Ident| [before.as_slice(), &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), paths),
        UseTree::Name(name) if name.ident == "self" => {
            paths.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => paths.push((with(&name.ident), name.ident.to_string())),
        UseTree::Rename(rename) => paths.push((with(&rename.ident), rename.rename.to_string())),
        UseTree::Glob(_) => paths.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, paths)),
    }
}

#[test]
fn no_two_files_reach_each_other() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let arrows: usize = sources.arrows().values().map(BTreeSet::len).sum();
    assert!(sources.0.len() > 200 && arrows > 600, "{} files, {arrows} arrows", sources.0.len());
    let circles = sources.circles();
    assert!(circles.is_empty(), "circles between files:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_seen() {
    let module = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>();
    let circles = |files: &[(&str, &str)]| {
        let mut sources = Sources::default();
        for (path, text) in files {
            sources.add(module(path), text);
        }
        sources.circles()
    };
    let room = ("room", "mod a; mod b; pub use a::A; pub use b::{B, make};");
    let one_way =
        [("", "mod room;"), room, ("room::a", "use super::B; pub struct A(B);"), ("room::b", "pub struct B;")];
    assert_eq!(circles(&one_way), Vec::<String>::new(), "a re-export is no arrow of the folder's file");
    let both = [
        ("", "mod room;"),
        room,
        ("room::a", "pub struct A; fn f() { crate::room::make() }"),
        ("room::b", "use super::A; pub struct B(A); pub fn make() {}"),
    ];
    assert_eq!(circles(&both), ["room::a -> room::b", "room::b -> room::a"]);
    let folder =
        [("", "mod room;"), ("room", "mod a; use a::A; pub struct R(A);"), ("room::a", "pub struct A(super::R);")];
    assert_eq!(circles(&folder), ["room -> room::a", "room::a -> room"]);
}
