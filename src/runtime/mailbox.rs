//! Mail between executors: one sender, one receiver, first in first out; a batch per turn, a wake only for a sleeper.
//!
//! ```text
//!   Outbox --(lock, append the turn's batch, unlock)--> [ queue ] --(lock, swap, unlock)--> Inbox
//!      |                                                                                     |
//!      +-- if the receiver sleeps: one eventfd write        room again: one write back  <----+
//! ```
//!
//! A lock taken twice per turn costs less than an atomic per message. Bounded: what does not fit stays with the
//! sender ([`Outbox::is_blocked`]), which then stops taking in work until the receiver has made room.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use super::sync::{Arc, Mutex, MutexGuard};
use super::wake::Wake;

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Of `state.queue`; lets the receiver see an empty box without taking the lock.
    waiting: AtomicUsize,
    capacity: usize,
    receiver: Arc<Wake>,
    sender: Arc<Wake>,
}

struct State<T> {
    queue: Vec<T>,
    /// The sender holds more and wants to be woken when there is room.
    starved: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned lock means a thread died while appending; the process is aborting anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end.
pub struct Outbox<T> {
    shared: Arc<Shared<T>>,
    batch: VecDeque<T>,
    blocked: bool,
}

/// The receiving end.
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
    spare: Vec<T>,
}

/// A mailbox for at most `capacity` undelivered messages, from the executor of `sender` to that of `receiver`.
pub fn mailbox<T>(capacity: usize, sender: &Arc<Wake>, receiver: &Arc<Wake>) -> (Outbox<T>, Inbox<T>) {
    assert!(capacity > 0);
    let shared = Arc::new(Shared {
        state: Mutex::new(State { queue: Vec::new(), starved: false }),
        waiting: AtomicUsize::new(0),
        capacity,
        receiver: receiver.clone(),
        sender: sender.clone(),
    });
    let outbox = Outbox { shared: shared.clone(), batch: VecDeque::new(), blocked: false };
    (outbox, Inbox { shared, spare: Vec::new() })
}

impl<T> Outbox<T> {
    /// Adds to the batch that [`Outbox::send`] delivers.
    pub fn push(&mut self, message: T) {
        self.batch.push_back(message);
    }

    /// Delivers what was pushed, as far as it fits, with at most one wake. Returns how many went.
    pub fn send(&mut self) -> usize {
        if self.batch.is_empty() {
            self.blocked = false;
            return 0;
        }
        let mut state = self.shared.lock();
        let room = self.shared.capacity.saturating_sub(state.queue.len());
        let count = room.min(self.batch.len());
        state.queue.extend(self.batch.drain(..count));
        self.blocked = !self.batch.is_empty();
        state.starved = self.blocked;
        self.shared.waiting.store(state.queue.len(), Release);
        drop(state);
        if count > 0 {
            self.shared.receiver.wake();
        }
        count
    }

    /// Some of the last batch did not fit. The sender is woken when there is room; it should take in nothing new.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }
}

impl<T> Inbox<T> {
    /// Whether a message waits.
    pub fn has_mail(&self) -> bool {
        self.shared.waiting.load(Acquire) > 0
    }

    /// Everything that waits, oldest first.
    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        debug_assert!(self.spare.is_empty());
        if self.has_mail() {
            let mut state = self.shared.lock();
            std::mem::swap(&mut state.queue, &mut self.spare);
            self.shared.waiting.store(0, Release);
            let starved = std::mem::take(&mut state.starved);
            drop(state);
            if starved {
                self.shared.sender.wake();
            }
        }
        self.spare.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_stays_with_the_sender_in_order() {
        let (here, there) = (Wake::new().unwrap(), Wake::new().unwrap());
        let (mut outbox, mut inbox) = mailbox(3, &here, &there);
        (0..5).for_each(|n| outbox.push(n));
        assert_eq!(outbox.send(), 3);
        assert!(outbox.is_blocked());
        assert_eq!(inbox.drain().collect::<Vec<_>>(), [0, 1, 2]);
        outbox.push(5);
        assert_eq!(outbox.send(), 3);
        assert!(!outbox.is_blocked());
        assert_eq!(inbox.drain().collect::<Vec<_>>(), [3, 4, 5]);
        assert!(!inbox.has_mail());
    }

    /// One thread sends, one receives and sleeps on its bell whenever it finds nothing; a lost wake would hang it.
    #[test]
    fn no_wake_is_lost_between_two_threads() {
        const COUNT: u64 = 200_000;
        let (here, there) = (Wake::new().unwrap(), Wake::new().unwrap());
        let (mut outbox, mut inbox) = mailbox::<u64>(64, &here, &there);
        let receiver_wake = there.clone();
        let receiver = std::thread::spawn(move || {
            let mut expected = 0;
            while expected < COUNT {
                for n in inbox.drain() {
                    assert_eq!(n, expected);
                    expected += 1;
                }
                sleep(&receiver_wake, || !inbox.has_mail() && expected < COUNT);
            }
        });
        for n in 0..COUNT {
            outbox.push(n);
            outbox.send();
            while outbox.is_blocked() {
                here.prepare_to_sleep();
                outbox.send();
                if outbox.is_blocked() {
                    wait(&here);
                }
                here.awake();
                outbox.send();
            }
        }
        receiver.join().unwrap();
    }

    fn sleep(wake: &Wake, still_nothing: impl Fn() -> bool) {
        wake.prepare_to_sleep();
        if still_nothing() {
            wait(wake);
        }
        wake.awake();
    }

    fn wait(wake: &Wake) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut fds = [PollFd::new(wake.bell(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "a wake was lost");
        wake.bell().hear();
    }
}
