//! A snapshot on its way to disk: temporary name, chunks, sync, final name, sync of the directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{DataDirs, sync_directory};
use crate::base::Zxid;

/// An unfinished snapshot. Dropping it leaves a temporary file, which the next start removes.
#[derive(Debug)]
pub struct SnapshotFile {
    zxid: Zxid,
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    unsynced_bytes: u64,
}

/// Synced after so many bytes: one great sync at the end would make the journal's writes wait behind it.
const SYNC_BYTES: u64 = 4 << 20;

impl SnapshotFile {
    pub fn create(zxid: Zxid, path: PathBuf) -> io::Result<SnapshotFile> {
        let temporary = DataDirs::temporary(&path);
        let file = File::create(&temporary)?;
        Ok(SnapshotFile { zxid, path, temporary, file, unsynced_bytes: 0 })
    }

    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// On an error the temporary file is gone.
    pub fn append(mut self, bytes: &[u8]) -> io::Result<SnapshotFile> {
        match self.write(bytes) {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Makes it a snapshot under its own name, durably.
    pub fn finish(self) -> io::Result<()> {
        let made = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        if let Err(error) = made {
            self.discard();
            return Err(error);
        }
        sync_directory(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Gives it up.
    pub fn discard(self) {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_its_name_only_when_it_is_whole() {
        let root = std::env::temp_dir().join(format!("ringkeeper-snapshot-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("snapshot.0000000000000007");
        let file = SnapshotFile::create(Zxid(7), path.clone()).unwrap();
        let file = file.append(b"state").unwrap();
        assert!(!path.exists());
        file.append(b" of all").unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"state of all");

        SnapshotFile::create(Zxid(8), root.join("snapshot.8")).unwrap().append(b"x").unwrap().discard();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
        fs::remove_dir_all(&root).unwrap();
    }
}
