//! The command line: what can be asked of the binary, turned into requests the library understands.
//!
//! Nothing is decided here that a config file could not decide too: a flag is a setting with the highest precedence.

pub mod args;
pub mod check;
pub mod log;

pub use args::{Cli, Command};
