//! The bytes of an answer: rows are bounded each, and a hundred large ones are too many for one answer.

use std::io;

use serde::Serialize;

/// Bytes of the rows of an answer, as JSON, unless the first alone has more.
const ROWS_LENGTH_MAX: usize = 1024 * 1024;

/// What an answer has room for.
#[derive(Debug, Default)]
pub struct Budget {
    taken: usize,
}

impl Budget {
    /// Whether there is room for this row too. For the first there always is, so that pages come to an end.
    pub fn takes(&mut self, row: &impl Serialize) -> bool {
        let is_first = self.taken == 0;
        self.taken += length_of(row);
        is_first || self.taken <= ROWS_LENGTH_MAX
    }
}

fn length_of(row: &impl Serialize) -> usize {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, row).expect("a row of strings and numbers is JSON");
    count.0
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
