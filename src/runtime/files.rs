//! Where things lie on disk, the lock on the data directory, and how everything is read back at the start.
//!
//! ```text
//!   <dataDir>/ringkeeper/lock                    held by the running server, with its pid in it
//!   <dataDir>/ringkeeper/snapshot.<16 hex>       the state at that zxid
//!   <dataLogDir>/ringkeeper/journal.<16 hex>     a segment
//!   .../<name>.damaged                           could not be read, its data came from other members; never read
//!   .../.tmp-*                                   unfinished; removed at the next start
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::base::Zxid;
use crate::journal::SegmentId;

/// The two directories of a server.
#[derive(Clone, Debug)]
pub struct DataDirs {
    snapshots: PathBuf,
    journal: PathBuf,
}

/// Held while the server runs; the kernel lets go of it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _files: Vec<File>,
}

/// Why the data directory cannot be used.
#[derive(Debug)]
pub enum LockError {
    /// Another server runs on it; its pid, if the lock file tells.
    Taken {
        directory: PathBuf,
        pid: Option<u32>,
    },
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Taken { directory, pid: Some(pid) } => {
                write!(f, "another server (pid {pid}) is running on the data directory {}", directory.display())
            }
            LockError::Taken { directory, pid: None } => {
                write!(f, "another server is running on the data directory {}", directory.display())
            }
            LockError::Io { path, error } => write!(f, "cannot use {}: {}", path.display(), plain_words(error)),
        }
    }
}

impl std::error::Error for LockError {}

const FOLDER: &str = "ringkeeper";
const SNAPSHOT_PREFIX: &str = "snapshot.";
const JOURNAL_PREFIX: &str = "journal.";
const TEMPORARY_PREFIX: &str = ".tmp-";

impl DataDirs {
    /// `data_log_dir` may be the same directory.
    pub fn new(data_dir: &Path, data_log_dir: &Path) -> DataDirs {
        DataDirs { snapshots: data_dir.join(FOLDER), journal: data_log_dir.join(FOLDER) }
    }

    /// Creates what is missing, takes the lock, and removes what an earlier run left unfinished.
    pub fn lock(&self) -> Result<Lock, LockError> {
        for folder in [&self.snapshots, &self.journal] {
            create_durably(folder).map_err(|error| LockError::Io { path: folder.clone(), error })?;
        }
        let mut files = vec![take_lock(&self.snapshots)?];
        if self.journal != self.snapshots {
            // Two servers may share dataLogDir by mistake even with different dataDirs.
            files.push(take_lock(&self.journal)?);
        }
        for folder in [&self.snapshots, &self.journal] {
            // Names an earlier run gave and could not sync any more are about to be believed, and what they replace
            // deleted: they must be durable first.
            remove_unfinished(folder)
                .and_then(|()| sync_directory(folder))
                .map_err(|error| LockError::Io { path: folder.clone(), error })?;
        }
        Ok(Lock { _files: files })
    }

    /// Where snapshots lie.
    pub fn snapshot_folder(&self) -> &Path {
        &self.snapshots
    }

    /// Where journal segments lie.
    pub fn journal_folder(&self) -> &Path {
        &self.journal
    }

    pub fn segment_path(&self, segment: SegmentId) -> PathBuf {
        self.journal.join(format!("{JOURNAL_PREFIX}{:016x}", segment.0))
    }

    pub fn snapshot_path(&self, zxid: Zxid) -> PathBuf {
        self.snapshots.join(format!("{SNAPSHOT_PREFIX}{:016x}", zxid.0))
    }

    /// A name for what is not finished yet, beside its final one.
    pub fn temporary(path: &Path) -> PathBuf {
        let name = path.file_name().expect("a data file has a name").to_string_lossy();
        path.with_file_name(format!("{TEMPORARY_PREFIX}{name}"))
    }

    /// A name for what turned out to be damaged, beside its first one. No start reads it.
    pub fn set_aside(path: &Path) -> PathBuf {
        let name = path.file_name().expect("a data file has a name").to_string_lossy();
        path.with_file_name(format!("{name}.damaged"))
    }

    /// Snapshots on disk, newest first.
    pub fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        let mut found = numbered(&self.snapshots, SNAPSHOT_PREFIX)?;
        found.reverse();
        Ok(found.into_iter().map(|number| Zxid(number as i64)).collect())
    }

    pub fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.snapshot_path(zxid))?))
    }

    /// Segments on disk, oldest first.
    pub fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Ok(numbered(&self.journal, JOURNAL_PREFIX)?.into_iter().map(SegmentId).collect())
    }

    /// Replaces what is in `bytes` by the whole file.
    pub fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        // Tells its length itself, so that memory is taken once.
        File::open(self.segment_path(segment))?.read_to_end(bytes)?;
        self.read_ahead(SegmentId(segment.0 + 1));
        Ok(())
    }

    /// Has the kernel read a segment, if it is there, while the one before is being looked through.
    fn read_ahead(&self, segment: SegmentId) {
        if let Ok(file) = File::open(self.segment_path(segment)) {
            // Where it is not heeded the segment is read all the same, later.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed);
        }
    }

    /// Replaces what is in `bytes` by at most `length` bytes of the file from `offset` on.
    pub fn read_segment_at(
        &self,
        segment: SegmentId,
        offset: u64,
        length: usize,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        bytes.clear();
        let mut file = File::open(self.segment_path(segment))?;
        file.seek(io::SeekFrom::Start(offset))?;
        file.take(length as u64).read_to_end(bytes).map(drop)
    }
}

fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for ancestor in folder.ancestors().skip(1).take_while(|path| !path.as_os_str().is_empty()) {
        sync_directory(ancestor)?;
    }
    Ok(())
}

fn take_lock(folder: &Path) -> Result<File, LockError> {
    let path = folder.join("lock");
    let say = |error| LockError::Io { path: path.clone(), error };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(say)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let directory = folder.parent().unwrap_or(folder).to_path_buf();
            return Err(LockError::Taken { directory, pid: holder.trim().parse().ok() });
        }
        Err(error) => return Err(say(error.into())),
    }
    let told = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    // A full disk must not keep a server from starting to read: the lock itself holds without the pid.
    if let Err(error) = told {
        tracing::warn!(%error, "cannot write the pid into the lock file");
    }
    Ok(file)
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The numbers behind `prefix` in a folder's file names, ascending.
fn numbered(folder: &Path, prefix: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(prefix)).filter(|digits| digits.len() == 16);
        found.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes names created, renamed or removed in a directory durable.
pub fn sync_directory(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// An error of the operating system with, where there is something to do, what to do.
pub fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => format!("the disk is full ({error}): free some space and start the server again"),
        io::ErrorKind::QuotaExceeded => {
            format!("the disk quota is used up ({error}): raise it or free some space and start the server again")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("the file system is read-only ({error}): remount it writable; the kernel log says why it changed")
        }
        io::ErrorKind::PermissionDenied => format!("{error}: give the server's user the right to write there"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringkeeper-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_second_server_is_refused_and_told_who_holds_the_directory() {
        let root = scratch("lock");
        let dirs = DataDirs::new(&root, &root);
        let held = dirs.lock().unwrap();
        let text = dirs.lock().unwrap_err().to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        assert!(text.contains(root.to_str().unwrap()), "{text}");
        drop(held);
        dirs.lock().unwrap();
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn files_are_listed_in_order_and_strangers_are_left_alone() {
        let root = scratch("list");
        let dirs = DataDirs::new(&root.join("data"), &root.join("log"));
        let _held = dirs.lock().unwrap();
        for number in [5, 0x1_0000_0002, 1] {
            fs::write(dirs.snapshot_path(Zxid(number)), b"s").unwrap();
            fs::write(dirs.segment_path(SegmentId(number as u64)), b"j").unwrap();
        }
        let unfinished = DataDirs::temporary(&dirs.snapshot_path(Zxid(9)));
        fs::write(&unfinished, b"half").unwrap();
        fs::write(root.join("data/ringkeeper/snapshot.5"), b"not ours").unwrap();
        drop(_held);
        let _held = dirs.lock().unwrap();
        assert_eq!(dirs.snapshots().unwrap(), [Zxid(0x1_0000_0002), Zxid(5), Zxid(1)]);
        assert_eq!(dirs.segments().unwrap(), [SegmentId(1), SegmentId(5), SegmentId(0x1_0000_0002)]);
        assert!(!unfinished.exists());
        let mut bytes = b"of before".to_vec();
        dirs.read_segment(SegmentId(5), &mut bytes).unwrap();
        assert_eq!(bytes, b"j");
        fs::remove_dir_all(&root).unwrap();
    }
}
