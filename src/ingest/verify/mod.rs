//! Commits of the raw firehose are verified: their signature, and that they are what happened to the tree.

mod before;
mod beside;
mod queue;

pub use before::{Judge, commit_of};
pub use beside::{Claim, Claims, Proofs, Prover, Verdict, judge, key, proof_outcomes};
pub use queue::{Heard, Intake, Read};
