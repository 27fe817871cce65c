use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};

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

/// The key in the data folder, made where there is none.
pub(super) fn load_or_make(data_dir: &Path) -> anyhow::Result<SecretKey> {
    let path = data_dir.join("secret_key");
    let load = || -> anyhow::Result<SecretKey> { parse(fs::read_to_string(&path)?.trim()).map_err(anyhow::Error::msg) };
    let make = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        // Written beside and linked: of two processes that start at once, one wins, and neither reads half a key.
        let draft = data_dir.join(format!("secret_key.{}", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", HEXLOWER.encode(&rand::random::<[u8; 32]>()))?;
        file.sync_all()?;
        let linked = match fs::hard_link(&draft, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        };
        fs::remove_file(&draft)?;
        linked
    };
    if !path.exists() {
        make().with_context(|| format!("{} cannot be written", path.display()))?;
    }
    load().with_context(|| format!("{} cannot be read", path.display()))
}
