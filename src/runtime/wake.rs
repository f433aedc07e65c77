//! How an executor is woken by other threads, at the cost of a system call only when it sleeps.
//!
//! ```text
//!   who has news:   store it,           fence,  look at `asleep`: ring if it is set
//!   the executor:   set `asleep`,       fence,  look for news:    sleep if there is none
//! ```
//!
//! No wake is lost: of the two fences one comes first, and what was stored before it is seen after the other. So either
//! the executor finds the news or we find it asleep. The fences are here, and whoever stores news needs none.
//!
//! `asleep` is only ever swapped, though a store would do where the old value is of no interest: `tests/loom` takes a store
//! and a swap by two threads to be in no order, where the memory model has one, and would tell of wakes that are not lost.

use std::io;

use super::bell::Bell;
use super::sync::Arc;
use super::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst, fence};

pub struct Wake {
    asleep: AtomicBool,
    bell: Bell,
}

impl Wake {
    pub fn new() -> io::Result<Arc<Wake>> {
        Ok(Arc::new(Wake { asleep: AtomicBool::new(false), bell: Bell::new()? }))
    }

    /// Wakes the executor if it sleeps or is about to. Call it after what it shall find has been stored.
    pub fn wake(&self) {
        fence(SeqCst);
        // Of many who have news at once only one rings.
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            self.bell.ring();
        }
    }

    /// From here on others ring. The caller looks for news once more before it sleeps.
    pub fn prepare_to_sleep(&self) {
        self.asleep.swap(true, Relaxed);
        fence(SeqCst);
    }

    pub fn awake(&self) {
        self.asleep.swap(false, Relaxed);
    }

    /// What the executor listens to while it sleeps.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }
}
