//! Work for a thread that blocks until there is some, first in first out.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard};

pub struct Queue<T> {
    state: Mutex<State<T>>,
    /// There is something in `state` for the thread.
    bell: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    ended: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { state: Mutex::new(State { items: VecDeque::new(), ended: false }), bell: Condvar::new() }
    }
}

impl<T> Queue<T> {
    pub fn push(&self, item: T) {
        self.lock().items.push_back(item);
        self.bell.notify_one();
    }

    /// Nothing follows; what has been pushed is still handed out.
    pub fn end(&self) {
        self.lock().ended = true;
        self.bell.notify_one();
    }

    /// The oldest, for which it may have to wait; `None` at the end.
    pub fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.ended {
                return None;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned lock means a thread died while appending; the process is aborting anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
