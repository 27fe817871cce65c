//! A copy of the tree, in which code may be broken.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::edits::Edit;

/// What the tests said.
pub enum Outcome {
    /// All passed.
    Passed,
    /// At least one failed; the end of what was printed.
    Failed(String),
    /// They did not end in time; the end of what was printed.
    TimedOut(String),
    /// The code was not even built; the end of what was printed.
    NotBuilt(String),
}

/// The copy, which shares the built dependencies with the original.
pub struct Tree {
    folder: PathBuf,
    target: PathBuf,
}

/// How long a build may take.
const BUILD_MAX: Duration = Duration::from_mins(15);
/// How long many tests may take that are known to end.
pub const MANY_TESTS_MAX: Duration = Duration::from_mins(15);
/// How long the few tests of a mutant may take. With some mutants a test never ends, and that is noticed too.
pub const TESTS_MAX: Duration = Duration::from_mins(4);

/// What `timeout` ends with when the time is over, and when it had to kill.
const TIME_IS_OVER: [i32; 2] = [124, 137];

const INSTALLED: &str = "tests/network/node_modules";

/// The folder of the workspace.
pub fn find_root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_owned).context("the crate lies two folders below the root")
}

/// The text of all tests.
pub fn read_tests(root: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut folders = vec![root.join("tests/it")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path)?);
            }
        }
    }
    Ok(text)
}

impl Tree {
    /// Copies what is committed or changed, and nothing that git ignores.
    ///
    /// The copy's packages are of other versions than the original's: cargo tells what it has built apart by that and not by the
    /// folder, and would otherwise take a mutant, or what its tests were built with, for the original.
    pub fn copy_of(root: &Path) -> anyhow::Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = std::path::absolute(target)?;
        let folder = target.join("mutants");
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git lists the files to copy")?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).context("names of files are UTF-8")?;
        let mut wanted = HashSet::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let (from, to) = (root.join(name), folder.join(name));
            if from.is_file() {
                copy_if_other(&from, &to, count_versions(name))?;
                wanted.insert(to);
            }
        }
        remove_others(&folder, &wanted)?;
        // Installed for the tests that make a network, and no part of the tree.
        let (installed, link) = (root.join(INSTALLED), folder.join(INSTALLED));
        if installed.exists() && !link.exists() {
            std::os::unix::fs::symlink(&installed, &link).with_context(|| link.display().to_string())?;
        }
        Ok(Self { folder, target })
    }

    /// Runs `work` while the code is as the mutant has it.
    pub fn with<T>(&self, edit: &Edit, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let file = self.folder.join(edit.file);
        let original = std::fs::read_to_string(&file)?;
        std::fs::write(&file, original.replacen(edit.find, edit.replace, 1))?;
        let done = work();
        std::fs::write(&file, original)?;
        done
    }

    /// Builds, and runs the tests of these names for so long at most; each must exist.
    pub fn test(&self, tests: &[&str], time_max: Duration) -> anyhow::Result<Outcome> {
        let built = self.cargo(BUILD_MAX).args(["test", "--locked", "--quiet", "--test", "it", "--no-run"]).output()?;
        if !built.status.success() {
            return Ok(Outcome::NotBuilt(tail(&built.stderr)));
        }
        let mut command = self.cargo(time_max);
        command.args(["test", "--locked", "--quiet", "--test", "it", "--", "--exact"]).args(tests);
        // Property tests look further than in an ordinary run, and from the same place each time, so that no mutant lives by luck.
        let ran = command.envs([("PLYR_CASES", "300"), ("PLYR_SEED", "1")]).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&ran.stdout);
        let count = said.lines().find_map(|line| line.strip_prefix("running ")?.split(' ').next()?.parse().ok());
        ensure!(count == Some(tests.len()), "of {tests:?} only {count:?} were run: their paths must be exact");
        Ok(match ran.status.code() {
            Some(0) => Outcome::Passed,
            Some(code) if TIME_IS_OVER.contains(&code) => Outcome::TimedOut(tail(&ran.stdout)),
            _ => Outcome::Failed(tail(&ran.stdout)),
        })
    }

    fn cargo(&self, time_max: Duration) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=10", &time_max.as_secs().to_string(), "cargo"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("SQLX_OFFLINE", "false")
            .env("RUST_BACKTRACE", "0");
        // Who is run by cargo knows of the package that it is. Build scripts watch these, and would run again, each time for the
        // original and for the copy.
        let of_this_package =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(of_this_package) {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Drop for Tree {
    /// What lies there as the program is the last mutant, which must not be taken for the original; the next build puts that back.
    fn drop(&mut self) {
        // Nothing was built, or it is gone already.
        let _ = std::fs::remove_file(self.target.join("debug/plyr-likes"));
    }
}

/// Removes what the original no longer has: a migration that is gone would still be applied. Links stay.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            remove_others(&path, wanted)?;
        } else if kind.is_file() && !wanted.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What follows on these is the version of the package whose code is broken, and of the one that its tests are built with, in their
/// manifests and in the lock file.
const VERSIONS_BEGIN: [&str; 2] = ["name = \"plyr-likes\"\nversion = \"", "name = \"plyr-likes-sim\"\nversion = \""];

/// How many of the two versions a file names.
fn count_versions(name: &str) -> usize {
    match name {
        "Cargo.toml" | "tests/sim/Cargo.toml" => 1,
        "Cargo.lock" => VERSIONS_BEGIN.len(),
        _ => 0,
    }
}

/// A file that is the same keeps its time, so that nothing is built again for it.
fn copy_if_other(from: &Path, to: &Path, versions: usize) -> anyhow::Result<()> {
    let mut wanted = std::fs::read(from)?;
    if versions > 0 {
        let mut text = String::from_utf8(wanted).context("a manifest is UTF-8")?;
        let mut marked = 0;
        for begin in VERSIONS_BEGIN {
            let Some((before, version)) = text.split_once(begin) else { continue };
            text = format!("{before}{begin}{}", version.replacen('"', "+mutant\"", 1));
            marked += 1;
        }
        ensure!(marked == versions, "{} names {marked} of our versions, and not {versions}", from.display());
        wanted = text.into_bytes();
    }
    if std::fs::read(to).is_ok_and(|held| held == wanted) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(to, wanted).with_context(|| to.display().to_string())
}

fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
