use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::postgres::Folder;

/// Seals what we hand out and want back unchanged.
#[derive(Clone)]
pub(super) struct SecretKey(pub(super) [u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// Reads 32 bytes in hex or one of the forms of base64.
pub(super) fn parse(text: &str) -> Result<SecretKey, &'static str> {
    [HEXLOWER_PERMISSIVE, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .into_iter()
        .find_map(|encoding| <[u8; 32]>::try_from(encoding.decode(text.as_bytes()).ok()?).ok())
        .map(SecretKey)
        .ok_or("a key is 32 bytes in hex or base64, such as `openssl rand -hex 32` makes")
}

/// The key in the data folder, made where there is none. A file that others can read or have put there is refused.
pub(super) fn load_or_make(data_dir: &Path) -> anyhow::Result<SecretKey> {
    Folder::open(data_dir)?;
    let path = data_dir.join("secret_key");
    if fs::symlink_metadata(&path).is_err() {
        make(data_dir, &path).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    load(&path).with_context(|| format!("{} cannot be used", path.display()))
}

fn load(path: &Path) -> anyhow::Result<SecretKey> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits())?;
    let mut file = fs::OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let (held, uid) = (file.metadata()?, rustix::process::geteuid().as_raw());
    anyhow::ensure!(held.is_file(), "it is not a file");
    anyhow::ensure!(held.uid() == uid || held.uid() == 0, "it belongs to the user with number {}", held.uid());
    let of_others = held.mode() & 0o077;
    anyhow::ensure!(of_others == 0, "other users may read it: chmod 600, and make another if they have");
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    parse(text.trim()).map_err(anyhow::Error::msg)
}

fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    // Written beside and linked: of two processes that start at once, one wins, and neither reads half a key. The name of the draft can't be
    // guessed, and a file that is there is not opened.
    let draft = data_dir.join(format!("secret_key.{:016x}", rand::random::<u64>()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", HEXLOWER.encode(&rand::random::<[u8; 32]>()))?;
    file.sync_all()?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&draft)?;
    linked
}
