//! A file prepared once, and the thread that writes it: O_DIRECT, O_DSYNC, whole blocks, from the start again at the
//! end.
//!
//! Both engines use the thread. With the writes on the ring instead, measured on a busy machine, 16 clients waited about
//! twice as long (p50) and 128 as long as before; our own CPU time was less, but the kernel flushes the disk from a
//! worker thread then, whose time is on nobody's account.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// What the writes go round in.
const FILE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 4096;

/// A block as O_DIRECT wants it in memory.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// Bytes that are written together.
pub struct Batch {
    blocks: Vec<Block>,
    length: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch { blocks: Vec::new(), length: 0 }
    }

    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if end > self.blocks.len() * BLOCK_BYTES {
            self.blocks.resize_with((2 * end).div_ceil(BLOCK_BYTES), Block::new_zeroed);
        }
        self.blocks.as_mut_slice().as_mut_bytes()[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn clear(&mut self) {
        self.length = 0;
    }

    /// The bytes and what fills their last block.
    fn whole_blocks(&self) -> &[u8] {
        self.blocks[..self.length.div_ceil(BLOCK_BYTES)].as_bytes()
    }
}

pub struct Disk {
    file: Arc<File>,
    /// Where the next batch goes.
    at: u64,
    to_thread: Sender<(Batch, u64)>,
    from_thread: Receiver<io::Result<Batch>>,
    /// An eventfd the thread rings when a batch is durable.
    bell: Arc<OwnedFd>,
}

impl Disk {
    /// Makes the file at `path`, writes all of it once, and starts the thread.
    pub fn start(path: &Path) -> io::Result<Disk> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
            .open(path)?;
        let mut zeros = Batch::new();
        zeros.push(&vec![0; 1 << 20]);
        for at in (0..FILE_BYTES).step_by(zeros.length) {
            file.write_all_at(zeros.whole_blocks(), at)?;
        }
        file.sync_all()?;
        let (file, bell) = (Arc::new(file), Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?));
        let (to_thread, batches) = channel();
        let (durable, from_thread) = channel();
        let (theirs, ring) = (file.clone(), bell.clone());
        std::thread::Builder::new().name("disk".into()).spawn(move || {
            // For the same reason as the server's journal (src/runtime/journal_thread.rs).
            ringkeeper::runtime::ask_for_short_slices();
            for (batch, at) in batches {
                let written = write(&theirs, batch, at);
                if durable.send(written).is_err() || rustix::io::write(&ring, &1u64.to_ne_bytes()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Disk { file, at: 0, to_thread, from_thread, bell })
    }

    /// Readable after a batch has become durable.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn reserve(&mut self, batch: &Batch) -> u64 {
        let bytes = batch.whole_blocks().len() as u64;
        if self.at + bytes > FILE_BYTES {
            self.at = 0;
        }
        let at = self.at;
        self.at += bytes;
        at
    }

    /// Has the thread write a batch; `take` returns it.
    pub fn hand_over(&mut self, batch: Batch) -> io::Result<()> {
        let at = self.reserve(&batch);
        self.to_thread.send((batch, at)).map_err(|_| io::Error::other("the disk's thread has ended"))
    }

    /// An empty batch in the place of one that was handed over, if that is durable.
    pub fn take(&mut self) -> io::Result<Option<Batch>> {
        self.from_thread.try_recv().ok().transpose()
    }

    /// Writes a batch here and now.
    pub fn write(&mut self, batch: Batch) -> io::Result<Batch> {
        let at = self.reserve(&batch);
        write(&self.file, batch, at)
    }
}

fn write(file: &File, mut batch: Batch, at: u64) -> io::Result<Batch> {
    file.write_all_at(batch.whole_blocks(), at)?;
    batch.clear();
    Ok(batch)
}
