//! The program and its commands, the house rules, and what the tests themselves stand on.

mod bench_log;
mod circles;
mod cli;
mod floors;
mod manual;
mod operating;
mod private_postgres;
mod program;
mod sim;
mod sim_reads;
