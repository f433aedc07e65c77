//! What a thread beside an executor has to tell it: a list behind a lock, and a flag that shows without the lock that
//! the list is empty.

use std::sync::PoisonError;

use super::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use super::sync::{Arc, Mutex};
use super::wake::Wake;

/// Shared by the executor and the threads that work for it.
pub struct News<T> {
    list: Mutex<Vec<T>>,
    waiting: AtomicBool,
    executor: Arc<Wake>,
}

impl<T> News<T> {
    /// `executor` is rung when there is something.
    pub fn new(executor: Arc<Wake>) -> News<T> {
        News { list: Mutex::new(Vec::new()), waiting: AtomicBool::new(false), executor }
    }

    pub fn tell(&self, news: impl IntoIterator<Item = T>) {
        // A poisoned lock means a thread died while it appended; the process is aborting anyway.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.extend(news);
        self.waiting.store(true, Release);
        drop(list);
        self.executor.wake();
    }

    /// Whether something waits.
    pub fn are_there(&self) -> bool {
        self.waiting.load(Acquire)
    }

    /// Moves everything that waits to the end of `out`, oldest first.
    pub fn take(&self, out: &mut Vec<T>) {
        if self.are_there() {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.store(false, Release);
            out.append(&mut list);
        }
    }
}
