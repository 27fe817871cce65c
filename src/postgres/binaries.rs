use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::{PrivatePostgresError, VERSION_MIN};

/// Where distributions put the server's programs, which are seldom on the PATH. One `*` in one component.
const FOLDERS: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/lib/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The server's programs of one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binaries {
    /// The major version.
    pub version: u32,
    folder: PathBuf,
}

impl Binaries {
    /// The newest on the PATH or in the usual folders, of version [`VERSION_MIN`] or newer; with `wanted`, of exactly that
    /// version, because a data folder is only readable by the version that made it.
    pub fn find(wanted: Option<u32>) -> Result<Self, PrivatePostgresError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path);
        let mut found: Vec<Self> =
            on_path.chain(FOLDERS.iter().flat_map(|pattern| expand(pattern))).filter_map(Self::of_folder).collect();
        found.sort();
        match wanted {
            Some(version) => found
                .into_iter()
                .find(|binaries| binaries.version == version)
                .ok_or(PrivatePostgresError::OtherVersion { version }),
            None => found
                .pop()
                .filter(|binaries| binaries.version >= VERSION_MIN)
                .ok_or_else(|| PrivatePostgresError::NoBinaries { install: install_hint() }),
        }
    }

    fn of_folder(folder: PathBuf) -> Option<Self> {
        if !folder.is_absolute() || !folder.join("initdb").is_file() {
            return None;
        }
        let answer = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version = major_version(&String::from_utf8_lossy(&answer.stdout))?;
        Some(Self { version, folder })
    }

    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The major version out of `postgres (PostgreSQL) 15.18 (Debian ..)`.
fn major_version(answer: &str) -> Option<u32> {
    let number = answer.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

/// The existing folders that a pattern names.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/")];
    for component in Path::new(pattern).iter().skip(1) {
        folders = folders.iter().flat_map(|folder| expand_component(folder, component)).collect();
    }
    folders
}

fn expand_component(folder: &Path, component: &OsStr) -> Vec<PathBuf> {
    let Some((head, tail)) = component.to_str().and_then(|text| text.split_once('*')) else {
        return vec![folder.join(component)];
    };
    let fits = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(head) && name.ends_with(tail));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| fits(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// What to type on this machine.
fn install_hint() -> &'static str {
    let has = |path: &str| Path::new(path).exists();
    if has("/usr/bin/apt-get") {
        "run `apt-get install postgresql`"
    } else if has("/usr/bin/dnf") {
        "run `dnf install postgresql-server`"
    } else if has("/sbin/apk") {
        "run `apk add postgresql`"
    } else if has("/usr/bin/pacman") {
        "run `pacman -S postgresql`"
    } else if cfg!(target_os = "macos") {
        "run `brew install postgresql@17`"
    } else {
        "install the PostgreSQL server"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_programs_own_words() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 17\n"), Some(17));
        assert_eq!(major_version("something else"), None);
    }
}
