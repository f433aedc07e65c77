//! How the executors agree to stop: a phase that only moves on, and a bell for each of them.
//!
//! ```text
//!   Running --signal--> Quieting --every shard read its last--> (replica drains, its log lands) --> Flushed
//!      \                                                                                              |
//!       +--------------- halt: a disk failed ----------------> Halted                  last replies, close
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::mailbox::Wake;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    Running,
    /// Shards take in nothing new; what was taken in is being ordered and logged.
    Quieting,
    /// Everything taken in is on disk and answered: send it and close.
    Flushed,
    /// The server cannot go on.
    Halted,
}

/// Shared by all executors and the thread that waits for signals.
pub struct Stop {
    phase: AtomicU8,
    loud_shards: AtomicUsize,
    running: AtomicUsize,
    wakes: Vec<Arc<Wake>>,
    why: Mutex<Option<String>>,
    /// Readable once the server halts or its last executor ends.
    pub ended: OwnedFd,
}

impl Stop {
    pub fn new(wakes: Vec<Arc<Wake>>, shards: usize) -> io::Result<Arc<Stop>> {
        Ok(Arc::new(Stop {
            phase: AtomicU8::new(Phase::Running as u8),
            loud_shards: AtomicUsize::new(shards),
            running: AtomicUsize::new(wakes.len()),
            wakes,
            why: Mutex::new(None),
            ended: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        }))
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Running,
            1 => Phase::Quieting,
            2 => Phase::Flushed,
            _ => Phase::Halted,
        }
    }

    /// Moves on to `phase`, never back, and rings everyone.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
        self.wakes.iter().for_each(|wake| wake.wake());
    }

    /// The server cannot go on; the first reason is the one reported.
    pub fn halt(&self, why: String) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.enter(Phase::Halted);
        self.ring_end();
    }

    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A shard has read its last byte and sent its last mail.
    pub fn shard_is_quiet(&self) {
        self.loud_shards.fetch_sub(1, SeqCst);
        self.wakes.iter().for_each(|wake| wake.wake());
    }

    pub fn all_quiet(&self) -> bool {
        self.loud_shards.load(SeqCst) == 0
    }

    /// An executor's loop has ended.
    pub fn executor_ended(&self) {
        if self.running.fetch_sub(1, SeqCst) == 1 {
            self.ring_end();
        }
    }

    fn ring_end(&self) {
        let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
    }
}
