//! The mutants: what is edited, which failure that models, and who must notice.

mod accounts;
mod continuity;
mod hosts;
mod order;
mod positions;
mod profiles;
mod repos;
mod shown;
mod sources;
mod untrusted_clients;
mod verify;

/// One edit.
#[derive(Debug)]
pub struct Edit {
    /// A name to ask for it by.
    pub name: &'static str,
    /// The file, from the root.
    pub file: &'static str,
    /// What is there, exactly once.
    pub find: &'static str,
    /// What a tired colleague might have written instead.
    pub replace: &'static str,
    /// The failure that it models.
    pub models: &'static str,
    /// Tests of which at least one must fail.
    pub tests: &'static [&'static str],
}

/// All of them, by the part of the program that they are in.
pub fn all() -> Vec<&'static Edit> {
    let rooms = [
        order::EDITS,
        positions::EDITS,
        continuity::EDITS,
        hosts::EDITS,
        sources::EDITS,
        accounts::EDITS,
        repos::EDITS,
        shown::EDITS,
        verify::EDITS,
        profiles::EDITS,
        untrusted_clients::EDITS,
    ];
    rooms.into_iter().flatten().collect()
}
