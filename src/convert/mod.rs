//! From Apache's `version-2` directory to ours and back: `ringkeeper import` and `ringkeeper export`.
//!
//! Both read everything, check everything, and write one snapshot: [`import`] ours at the last zxid of Apache's
//! snapshot and logs, [`export`] Apache's at the last zxid of our snapshot and journal. The source is never
//! changed; a destination that already holds data is never touched. A tool: it owns files and time.

mod apache_log;
mod apache_snapshot;
mod compression;
mod export;
mod files;
mod import;

pub use export::export;
pub use import::{ImportOptions, import};

use crate::base::Zxid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a conversion did not happen. The destination is as it was.
#[derive(Debug)]
pub enum ConvertError {
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    /// A file holds what it should not. `offset` in (uncompressed) bytes from its start.
    Bad {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    /// The directories are not what the command is for.
    Refused(String),
}

impl std::fmt::Display for ConvertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConvertError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            ConvertError::Bad { path, offset, what } => write!(f, "{} at offset {offset}: {what}", path.display()),
            ConvertError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ConvertError {}

/// What was converted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub source_snapshot: PathBuf,
    pub snapshot_zxid: Zxid,
    /// Transactions replayed behind the snapshot.
    pub replayed: u64,
    pub last_zxid: Zxid,
    pub znodes: usize,
    pub sessions: usize,
    pub digest: i64,
    pub written: PathBuf,
    /// What an operator may want to know: skipped snapshots, torn tails, digests that could not be compared.
    pub notes: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f, "read {} (zxid {})", self.source_snapshot.display(), self.snapshot_zxid)?;
        writeln!(f, "replayed {} transactions, up to zxid {}", self.replayed, self.last_zxid)?;
        write!(
            f,
            "wrote {}: {} znodes, {} sessions, digest {:x}",
            self.written.display(),
            self.znodes,
            self.sessions,
            self.digest
        )
    }
}

/// Says how far it is, every two seconds; nothing about what takes less.
struct Progress<'a> {
    say: &'a mut dyn FnMut(&str),
    last: Instant,
    calls: u32,
}

impl<'a> Progress<'a> {
    fn new(say: &'a mut dyn FnMut(&str)) -> Progress<'a> {
        Progress { say, last: Instant::now(), calls: 0 }
    }

    /// Cheap enough to call for every znode.
    fn step(&mut self, line: impl FnOnce() -> String) {
        self.calls += 1;
        if self.calls.is_multiple_of(1024) && self.last.elapsed() >= Duration::from_secs(2) {
            self.last = Instant::now();
            (self.say)(&line());
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ConvertError + '_ {
    |error| ConvertError::Io { path: path.into(), error }
}
