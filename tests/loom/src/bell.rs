//! In the place of `src/runtime/bell.rs`: the eventfd as a model of it. Who waits for a bell that nobody rings waits for
//! ever, which loom reports as a deadlock.

use std::io;

use crate::sync::{Condvar, Mutex};

pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { rung: Mutex::new(false), changed: Condvar::new() })
    }

    pub fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Takes note of it.
    pub fn hear(&self) {
        *self.rung.lock().unwrap() = false;
    }

    /// What `epoll_wait` and `poll` do: blocks until it is rung.
    pub fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}
