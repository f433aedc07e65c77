//! A journal segment as a file: prepared once so that later writes allocate nothing, then written and synced.
//!
//! A batch is one system call: the file is open with O_DIRECT and O_DSYNC, so the write itself returns only when the
//! bytes are on the disk (on a disk with FUA without a flush of its whole cache). Where the file system refuses
//! O_DIRECT it is a buffered write and an fdatasync.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::files::{DataDirs, sync_directory};
use crate::base::limits;
use crate::journal::SegmentId;

/// A segment open for writing.
pub struct JournalFile {
    segment: SegmentId,
    file: File,
    is_direct: bool,
    sync: bool,
    /// What direct writes are made from; kept for its memory.
    aligned: Vec<Block>,
}

/// A block as O_DIRECT wants it in memory.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Block([u8; limits::BLOCK_BYTES]);

/// Said once: the journal goes through the page cache.
static SAID_BUFFERED: AtomicBool = AtomicBool::new(false);

impl JournalFile {
    /// Opens a prepared segment. `sync` = false leaves durability to the kernel (`forceSync=no`).
    pub fn open(segment: SegmentId, path: &Path, sync: bool) -> io::Result<JournalFile> {
        let flags = libc::O_DIRECT | if sync { libc::O_DSYNC } else { 0 };
        let (file, is_direct) = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => (file, true),
            Err(error) => (open_buffered(path, error)?, false),
        };
        Ok(JournalFile { segment, file, is_direct, sync, aligned: Vec::new() })
    }

    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Writes `bytes` at `offset` (both whole blocks); on return they are durable.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(limits::BLOCK_BYTES as u64) && bytes.len().is_multiple_of(limits::BLOCK_BYTES));
        if self.is_direct {
            match self.write_direct(offset, bytes) {
                // Some file systems accept the open and refuse the write.
                Err(error) if is_refusal(&error) => self.fall_back(error)?,
                other => return other,
            }
        }
        self.file.write_all_at(bytes, offset)?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    fn write_direct(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let blocks = bytes.len() / limits::BLOCK_BYTES;
        if self.aligned.len() < blocks {
            self.aligned.resize_with(blocks, Block::new_zeroed);
        }
        let aligned = self.aligned[..blocks].as_mut_bytes();
        aligned.copy_from_slice(bytes);
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write_at(&aligned[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // A short direct write may end off a block; that block is written again.
                Ok(count) if written + count < bytes.len() => written += count - count % limits::BLOCK_BYTES,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fall_back(&mut self, why: io::Error) -> io::Result<()> {
        // By the name the kernel has for it, so that nobody must remember the path.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        self.file = open_buffered(Path::new(&path), why)?;
        self.is_direct = false;
        Ok(())
    }
}

fn open_buffered(path: &Path, why: io::Error) -> io::Result<File> {
    if !is_refusal(&why) {
        return Err(why);
    }
    if !SAID_BUFFERED.swap(true, Relaxed) {
        tracing::warn!(
            "the file system of the journal refuses direct writes (O_DIRECT): they go through the page cache \
             with fdatasync, which is safe but slower"
        );
    }
    OpenOptions::new().write(true).open(path)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Makes a segment of `bytes` whose every block has been written, with a durable name. Blocks for as long as it takes.
///
/// A recycled file keeps its old bytes: the journal tells batches of another time from its own.
pub fn prepare_segment(path: &Path, bytes: u64, recycle: Option<&Path>, sync: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = DataDirs::temporary(path);
    if let Some(old) = recycle
        && fs::metadata(old).is_ok_and(|old| old.len() == bytes)
    {
        fs::rename(old, path)?;
    } else {
        if let Err(error) = fill(&temporary, bytes, sync) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, path)?;
        if let Some(old) = recycle {
            // Of another size; it was ours to use up.
            let _ = fs::remove_file(old);
        }
    }
    if sync { sync_directory(folder) } else { Ok(()) }
}

/// Written in slices, so that the journal's own writes find gaps between them.
const SLICE_BYTES: usize = 1 << 20;

#[repr(align(4096))]
struct Slice([u8; SLICE_BYTES]);

fn fill(path: &Path, bytes: u64, sync: bool) -> io::Result<()> {
    let zeros: Box<Slice> = zeroed();
    let file =
        create(path, libc::O_DIRECT).or_else(|error| if is_refusal(&error) { create(path, 0) } else { Err(error) })?;
    match write_zeros(&file, &zeros.0, bytes) {
        Err(error) if is_refusal(&error) => write_zeros(&create(path, 0)?, &zeros.0, bytes)?,
        other => other?,
    }
    if sync { file.sync_all() } else { Ok(()) }
}

fn create(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)
}

fn write_zeros(file: &File, zeros: &[u8], bytes: u64) -> io::Result<()> {
    // Reserved in one piece where the file system can, so that the blocks lie together.
    let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes);
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..count as usize], at)?;
        at += count;
    }
    Ok(())
}

fn zeroed() -> Box<Slice> {
    // SAFETY: `Slice` is an array of bytes, for which all zeros is a valid value. Made in place, because a
    // megabyte by value would pass through the stack.
    unsafe { Box::<Slice>::new_zeroed().assume_init() }
}
