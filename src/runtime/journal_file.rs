//! A journal segment as a file: prepared once so that later writes allocate nothing, then written and synced.
//!
//! A batch is one request of the ring: the file is open with O_DIRECT and O_DSYNC, so the write itself answers only
//! when the bytes are on the disk (on a disk with FUA without a flush of its whole cache). Where the file system
//! refuses O_DIRECT it is a buffered write and an fdatasync.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use glommio::io::{BufferedFile, DmaFile};

use super::files::{DataDirs, sync_directory};
use crate::base::limits;
use crate::journal::SegmentId;

/// A segment open for writing.
pub struct JournalFile {
    segment: SegmentId,
    how: How,
    sync: bool,
}

enum How {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

/// Said once: the journal goes through the page cache.
static SAID_BUFFERED: AtomicBool = AtomicBool::new(false);

impl JournalFile {
    /// Opens a prepared segment. `sync` = false leaves durability to the kernel (`forceSync=no`).
    pub async fn open(segment: SegmentId, path: &Path, sync: bool) -> io::Result<JournalFile> {
        let mut options = glommio::io::OpenOptions::new();
        // Readable because glommio reads a block of it to learn whether the device can be polled.
        options.read(true).write(true);
        if sync {
            options.custom_flags(libc::O_DSYNC);
        }
        let how = match options.dma_open(path).await {
            Ok(file) => How::Direct(file),
            Err(error) => How::Buffered(open_buffered(path, &error.into()).await?),
        };
        Ok(JournalFile { segment, how, sync })
    }

    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Writes `bytes` at `offset` (both whole blocks); on return they are durable.
    pub async fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(limits::BLOCK_BYTES as u64) && bytes.len().is_multiple_of(limits::BLOCK_BYTES));
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let at = offset + written as u64;
            let count = match &self.how {
                How::Direct(file) => {
                    let mut buffer = file.alloc_dma_buffer(rest.len());
                    buffer.as_bytes_mut()[..rest.len()].copy_from_slice(rest);
                    file.write_at(buffer, at).await.map_err(io::Error::from)
                }
                How::Buffered(file) => file.write_at(rest.to_vec(), at).await.map_err(io::Error::from),
            };
            match count {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // A short direct write may end off a block; that block is written again.
                Ok(count) if count < rest.len() => written += count - count % limits::BLOCK_BYTES,
                Ok(count) => written += count,
                // Some file systems accept the open and refuse the write.
                Err(error) if self.is_direct() && is_refusal(&error) => self.fall_back(&error).await?,
                Err(error) => return Err(error),
            }
        }
        match &self.how {
            How::Buffered(file) if self.sync => Ok(file.fdatasync().await?),
            _ => Ok(()),
        }
    }

    pub async fn close(self) {
        // Everything in it is durable already; an error of close(2) says nothing about that.
        let _ = match self.how {
            How::Direct(file) => file.close().await,
            How::Buffered(file) => file.close().await,
        };
    }

    fn is_direct(&self) -> bool {
        matches!(self.how, How::Direct(_))
    }

    async fn fall_back(&mut self, why: &io::Error) -> io::Result<()> {
        let How::Direct(file) = &self.how else { return Ok(()) };
        let path = file.path().map(|path| path.to_path_buf()).ok_or(io::ErrorKind::NotFound)?;
        self.how = How::Buffered(open_buffered(&path, why).await?);
        Ok(())
    }
}

async fn open_buffered(path: &Path, why: &io::Error) -> io::Result<BufferedFile> {
    if !is_refusal(why) {
        return Err(io::Error::new(why.kind(), why.to_string()));
    }
    if !SAID_BUFFERED.swap(true, Relaxed) {
        tracing::warn!(
            file = %path.display(),
            "the file system refuses direct I/O (O_DIRECT); the journal goes through the page cache with fdatasync, which is safe but slower"
        );
    }
    Ok(glommio::io::OpenOptions::new().write(true).buffered_open(path).await?)
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
    use std::os::unix::fs::FileExt;
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
