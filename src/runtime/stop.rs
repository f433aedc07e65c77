//! How the executors agree to begin and to stop: a phase that only moves on, and a bell for each of them.
//!
//! ```text
//!   Starting --the journal's first batch is on disk--> Running
//!
//!   Running --signal--> Quieting --every shard read its last--> (replica drains, its log lands) --> Flushed
//!      \                                                                                              |
//!       +--------------- halt: a disk failed ----------------> Halted                  last replies, close
//! ```

use std::io;
use std::sync::PoisonError;

use super::bell::Bell;
use super::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use super::sync::{Arc, Mutex};
use super::wake::Wake;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Nobody is let in yet.
    Starting,
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
    /// Readable once clients are served, the server halts or its last executor ends.
    pub bell: Bell,
}

impl Stop {
    pub fn new(wakes: Vec<Arc<Wake>>, shards: usize) -> io::Result<Arc<Stop>> {
        Ok(Arc::new(Stop {
            phase: AtomicU8::new(Phase::Starting as u8),
            loud_shards: AtomicUsize::new(shards),
            running: AtomicUsize::new(wakes.len()),
            wakes,
            why: Mutex::new(None),
            bell: Bell::new()?,
        }))
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Running,
            2 => Phase::Quieting,
            3 => Phase::Flushed,
            _ => Phase::Halted,
        }
    }

    /// Moves on to `phase`, never back, and rings everyone.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
        self.wakes.iter().for_each(|wake| wake.wake());
    }

    /// Clients are served from now on, unless the end was quicker.
    pub fn serve(&self) {
        self.enter(Phase::Running);
        self.bell.ring();
    }

    /// The server cannot go on; the first reason is the one reported.
    pub fn halt(&self, why: String) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.enter(Phase::Halted);
        self.bell.ring();
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
            self.bell.ring();
        }
    }

    /// There is nothing to wait for any more.
    pub fn has_ended(&self) -> bool {
        self.phase() == Phase::Halted || self.running.load(SeqCst) == 0
    }

    /// Takes note of the bell, which is silent again until the next ring.
    pub fn hear(&self) {
        self.bell.hear();
    }
}
