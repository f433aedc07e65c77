//! Who waits for which path, on one shard: two tables, three modes, and what a change sets off (parity section 4).
//!
//! Does not know: sessions, ACLs or bytes. A watcher is a number; the shard knows which connection it is,
//! filters by READ, and encodes the event once for all of them.

mod table;

pub use table::{Mode, WatchTable, Watcher, WatcherKind};

#[cfg(test)]
mod tests;
