//! The whole state at one zxid, as bytes and back. Exact, not fuzzy: nothing has to be replayed to make it true.
//!
//! ```text
//!   file header | chunk (ACLs)... | chunk (sessions)... | chunk (znodes)... | trailer chunk
//!   chunk = header 24 | payload of about 256 KiB
//! ```
//!
//! [`SnapshotWriter`] hands the bytes out piece by piece while the server goes on; [`load`] reads them as a stream
//! and builds znodes straight from each chunk. Every chunk is numbered and summed, its header chained to the file's,
//! and the trailer counts what there should be: a snapshot is whole or it is refused, with the offset.
//!
//! [`StreamWriter`] and [`StreamReader`] speak Apache's form of the same, which members of an ensemble send each other.
//!
//! Does not know: files, names, or when to take one.

mod format;
mod read;
pub mod stream;
mod stream_read;
mod write;

pub use read::{Loaded, SnapshotError, load, read_head};
pub use stream::{StreamChunks, StreamWriter};
pub use stream_read::StreamReader;
pub use write::{SnapshotHead, SnapshotWriter};

use crate::base::Zxid;

/// `snapshot.<16 hex digits>`.
pub fn file_name(zxid: Zxid) -> String {
    format!("snapshot.{:016x}", zxid.0)
}

/// The zxid in a file's name; `None` for other files.
pub fn zxid_of_file_name(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix("snapshot.").filter(|digits| digits.len() == 16)?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
