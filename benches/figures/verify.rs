//! What it costs to prove a commit: signature, tree and operations, on one core.

use std::time::Instant;

use anyhow::Context as _;
use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::PublicKey,
    decode::{
        Collections,
        firehose::{decode_message, read_message},
        repo::verify_commit,
    },
};

use super::repo::{Repo, Write, encode, map};

/// Records of the repo before the commits that are measured.
const RECORDS: usize = 3_000;
const COMMITS: usize = 400;
const REV: i64 = 0x6_0000_0000_0000;

/// Prints commits proven in a second, beside those decoded in a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
pub fn measure() -> anyhow::Result<()> {
    let mut repo = Repo::new("did:plc:ewvi7nxzyoun6zhxrhs64oiz", 7);
    let paths: Vec<String> = (0..RECORDS + COMMITS).map(|at| format!("fm.plyr.like/{:x}", at * 7_919)).collect();
    let (before, after) = paths.split_at(RECORDS);
    let writes: Vec<Write<'_>> = before.iter().map(|path| (path.as_str(), Some(record(path)))).collect();
    repo.commit(REV, &writes);
    let frames: Vec<Vec<u8>> = (REV + 1..)
        .zip(after)
        .map(|(rev, path)| {
            let header = map([("op", Ipld::Integer(1)), ("t", "#commit".into())]);
            [encode(&header), encode(&repo.commit(rev, &[(path, Some(record(path)))]))].concat()
        })
        .collect();
    let key = PublicKey::parse(&repo.multikey())?;
    let started = Instant::now();
    for frame in &frames {
        let message = read_message(frame)?;
        verify_commit(message.commit().context("a frame without a commit")?, &key)?;
    }
    let proven = COMMITS as f64 / started.elapsed().as_secs_f64();
    let collections = Collections::of_namespace("fm.plyr")?;
    let started = Instant::now();
    for frame in &frames {
        std::hint::black_box(decode_message(&collections, frame));
    }
    let decoded = COMMITS as f64 / started.elapsed().as_secs_f64();
    let mean = frames.iter().map(Vec::len).sum::<usize>() / COMMITS;
    println!(
        "verify           {proven:.0} commits/s proven, {decoded:.0} commits/s decoded (one core, {mean} bytes in the mean, \
         repo of {RECORDS} records)"
    );
    Ok(())
}

fn record(path: &str) -> Vec<u8> {
    encode(&map([("$type", "fm.plyr.like".into()), ("createdAt", path.into())]))
}
