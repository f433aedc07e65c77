//! Directories: what is in them, and how a file is put there so that it is whole or absent.

use super::{ConvertError, io_error};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of ours inside a data directory.
pub(super) const OURS: &str = "ringkeeper";
/// The folder of Apache's.
pub(super) const APACHE: &str = "version-2";

/// The names in a directory, sorted; none if it does not exist.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, ConvertError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Apache's files of one kind (`log`, `snapshot`) with their zxids, oldest first. Other names are not looked at.
pub(super) fn apache_files(dir: &Path, kind: &str) -> Result<Vec<(i64, PathBuf)>, ConvertError> {
    let mut files: Vec<(i64, PathBuf)> = names(dir)?
        .into_iter()
        .filter_map(|name| {
            let mut parts = name.split('.');
            let is_kind = parts.next() == Some(kind);
            let zxid = i64::from_str_radix(parts.next()?, 16).ok()?;
            is_kind.then(|| (zxid, dir.join(&name)))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// The `version-2` folder: `dir` itself or inside it.
pub(super) fn apache_dir(dir: &Path) -> PathBuf {
    let inner = dir.join(APACHE);
    if inner.is_dir() { inner } else { dir.into() }
}

/// Makes the directory and the way to it.
pub(super) fn create_dir(dir: &Path) -> Result<(), ConvertError> {
    fs::create_dir_all(dir).map_err(io_error(dir))
}

/// A file under a temporary name, which becomes the real one when it is whole and on disk.
pub(super) struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_done: bool,
}

impl NewFile {
    pub fn create(dir: &Path, name: &str) -> Result<NewFile, ConvertError> {
        let temporary = dir.join(format!(".tmp-{name}"));
        let file = File::create(&temporary).map_err(io_error(&temporary))?;
        Ok(NewFile { file, temporary, path: dir.join(name), is_done: false })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        self.file.write_all(bytes).map_err(io_error(&self.temporary))
    }

    /// Syncs, renames, syncs the directory.
    pub fn finish(mut self) -> Result<PathBuf, ConvertError> {
        self.file.sync_all().map_err(io_error(&self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(io_error(&self.path))?;
        self.is_done = true;
        let dir = self.path.parent().expect("it was joined to one");
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error(dir))?;
        Ok(self.path.clone())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            // Nobody reads a temporary file; failing to remove it harms nothing.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Holds the data directory's lock, so that no server runs on it meanwhile.
pub(super) fn lock(dir: &Path) -> Result<File, ConvertError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(ConvertError::Refused(format!("{} is in use: stop the server first", dir.display())))
        }
        Err(fs::TryLockError::Error(error)) => Err(ConvertError::Io { path, error }),
    }
}
