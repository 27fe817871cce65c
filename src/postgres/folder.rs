use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::error::PrivatePostgresError;

/// The role and the database inside the private server.
const NAME: &str = "plyr";
/// A socket's address holds 108 bytes, the last of them a zero.
const SOCKET_PATH_MAX: usize = 107;
/// The log is put aside when it has grown to this.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// The data folder: `postgres/` is the server's, beside it lie `lock` and `postgres.log`.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// The right to start and stop the server of one data folder; held for as long as it lives, and released by the kernel
/// however the process ends.
#[derive(Debug)]
pub struct Lock {
    /// The data folder that is locked.
    pub folder: Folder,
    _file: File,
}

/// The user that the server's processes run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

impl Folder {
    /// The data folder at `path`, made if it is not there, readable by its owner alone. One that is there must be ours, or that of root, and
    /// no other user may write to it: who can, can put another database into it.
    pub fn open(path: &Path) -> Result<Self, PrivatePostgresError> {
        let fail = |error| PrivatePostgresError::Folder { path: path.to_owned(), error };
        if !path.exists() {
            fs::create_dir_all(path).map_err(fail)?;
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)?;
        }
        let (held, uid) = (fs::metadata(path).map_err(fail)?, rustix::process::geteuid().as_raw());
        if held.uid() != uid && held.uid() != 0 {
            return Err(PrivatePostgresError::Foreign { path: path.to_owned(), uid: held.uid() });
        }
        if held.mode() & 0o022 != 0 {
            return Err(PrivatePostgresError::Open { path: path.to_owned() });
        }
        Ok(Self { root: fs::canonicalize(path).map_err(fail)? })
    }

    /// Takes the lock, or says which process has it. One that takes it for a moment says so, and is worth waiting for.
    pub fn lock(self, is_brief: bool) -> Result<Lock, PrivatePostgresError> {
        let path = self.root.join("lock");
        let fail = |error| PrivatePostgresError::Folder { path: path.clone(), error };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(fail)?;
            let (holder, is_brief) = match holder.trim().split_once(' ') {
                Some((holder, _)) => (holder.to_owned(), true),
                None => (holder.trim().to_owned(), false),
            };
            return Err(PrivatePostgresError::InUse { path: self.root, holder, is_brief });
        }
        let tenure = if is_brief { " briefly" } else { "" };
        file.set_len(0).and_then(|()| writeln!(file, "{}{tenure}", std::process::id())).map_err(fail)?;
        Ok(Lock { folder: self, _file: file })
    }

    /// The server's own folder. The socket lies in it too: Postgres itself insists that no other user may enter.
    pub fn server(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Where a new server's folder is made before it takes its name, so that a half-made one is never started.
    pub fn server_unfinished(&self) -> PathBuf {
        self.root.join("postgres.unfinished")
    }

    /// What the server writes to stderr.
    pub fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// How to connect to the server, whichever process started it, and the handle that must live as long as the options are used.
    ///
    /// Where the socket's path is too long for an address, it is reached through a handle on the folder.
    pub fn connect_options(&self) -> Result<(PgConnectOptions, Option<File>), PrivatePostgresError> {
        let server = self.server();
        let fail = |error| PrivatePostgresError::Folder { path: server.clone(), error };
        let (socket, handle) = if server.join(".s.PGSQL.5432").as_os_str().len() > SOCKET_PATH_MAX {
            let handle = File::open(&server).map_err(fail)?;
            (PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())), Some(handle))
        } else {
            (server.clone(), None)
        };
        let options = PgConnectOptions::new_without_pgpass()
            .socket(socket)
            .port(5432)
            .username(NAME)
            .database(NAME)
            .ssl_mode(PgSslMode::Disable)
            .application_name("plyr-likes");
        Ok((options, handle))
    }

    /// The major version of the server that made the folder; none if there is no server yet.
    pub fn version(&self) -> Option<u32> {
        fs::read_to_string(self.server().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Who the server's processes run as: the owner of the server's folder, or, for a new one, ourselves; as root, which
    /// Postgres refuses, the user `postgres`. Not `nobody`, as whom other programs run too: the server trusts who reaches its socket.
    pub fn owner(&self) -> Result<Owner, PrivatePostgresError> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let of_folder = fs::metadata(self.server()).ok().map(|meta| Owner { uid: meta.uid(), gid: meta.gid() });
        match of_folder {
            Some(owner) if uid == 0 && owner.uid != 0 => Ok(owner),
            Some(owner) if uid != 0 && owner.uid != uid => {
                Err(PrivatePostgresError::Foreign { path: self.server(), uid: owner.uid })
            }
            _ if uid != 0 => Ok(Owner { uid, gid }),
            _ => postgres_user().ok_or(PrivatePostgresError::NoUser),
        }
    }

    /// Makes an empty folder for a new server, owned by `owner`, and forgets an unfinished one.
    pub fn make_unfinished(&self, owner: Owner) -> Result<PathBuf, PrivatePostgresError> {
        let path = self.server_unfinished();
        let make = || -> io::Result<()> {
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
            fs::create_dir(&path)?;
            chown(&path, Some(owner.uid), Some(owner.gid))?;
            fs::set_permissions(&path, Permissions::from_mode(0o700))
        };
        make().map_err(|error| PrivatePostgresError::Folder { path: path.clone(), error })?;
        Ok(path)
    }

    /// Gives the finished folder its name, durably.
    pub fn finish(&self) -> Result<(), PrivatePostgresError> {
        let finish = || -> io::Result<()> {
            fs::rename(self.server_unfinished(), self.server())?;
            File::open(&self.root)?.sync_all()
        };
        finish().map_err(|error| PrivatePostgresError::Folder { path: self.server(), error })
    }

    /// The log, open for appending, and where it ends now.
    pub fn open_log(&self) -> Result<(File, u64), PrivatePostgresError> {
        let fail = |error| PrivatePostgresError::Folder { path: self.log(), error };
        self.bound_log().map_err(fail)?;
        let log = File::options().create(true).append(true).open(self.log()).map_err(fail)?;
        let end = log.metadata().map_err(fail)?.len();
        Ok((log, end))
    }

    /// Puts the log aside when it has grown too long; the server goes on appending to the emptied file.
    pub fn bound_log(&self) -> io::Result<()> {
        let path = self.log();
        if fs::metadata(&path).map_or(0, |meta| meta.len()) > LOG_BYTES_MAX {
            fs::copy(&path, path.with_extension("log.1"))?;
            File::options().write(true).open(&path)?.set_len(0)?;
        }
        Ok(())
    }

    /// What was written to the log since `start`.
    pub fn read_log(&self, start: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut log) = File::open(self.log()) {
            let read = log.seek(SeekFrom::Start(start)).and_then(|_| log.take(LOG_BYTES_MAX).read_to_end(&mut bytes));
            if let Err(error) = read {
                return format!("(the log cannot be read: {error})");
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn postgres_user() -> Option<Owner> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find_map(|line| line.strip_prefix("postgres:"))?.split(':');
    Some(Owner { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}
