//! Rejects: events per second of `plyr-likes replay` of a log in which every record is refused, over those of the log of the replay figure, in which
//! none is.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
};

use crate::{
    log::{Shape, write_log},
    replay::{ROUNDS, median, replay},
    server::Server,
};

/// Measures and prints.
pub async fn measure(server: &Server, folder: &Path) -> anyhow::Result<()> {
    let (applied, refused) = (folder.join("applied.jsonl"), folder.join("refused.jsonl"));
    let mut out = BufWriter::new(File::create(&applied)?);
    let lines = write_log(&mut out, Shape::FIGURE)?;
    out.flush()?;
    let refused_lines = write_refused(&applied, &refused)?;
    let (mut applied_per_s, mut refused_per_s) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        applied_per_s.push(replay(server, &applied, lines).await?);
        refused_per_s.push(replay(server, &refused, refused_lines).await?);
    }
    let (of_applied, of_refused) = (median(&mut applied_per_s), median(&mut refused_per_s));
    println!(
        "rejects          {:.2} = {of_refused:.0} events/s of a log in which every record is refused ({refused_lines} events) / \
         {of_applied:.0} events/s of replay; rounds {refused_per_s:.0?} / {applied_per_s:.0?}",
        of_refused / of_applied
    );
    Ok(())
}

/// The same log with a field missing in each record, and without deletes, which have none. Returns the number of its lines.
fn write_refused(applied: &Path, refused: &Path) -> anyhow::Result<usize> {
    let mut out = BufWriter::new(File::create(refused)?);
    let mut lines = 0;
    for line in BufReader::new(File::open(applied)?).lines() {
        let line = line?;
        let spoilt = line.replace("\"createdAt\"", "\"madeAt\"");
        if spoilt != line {
            writeln!(out, "{spoilt}")?;
            lines += 1;
        }
    }
    out.flush()?;
    Ok(lines)
}
