//! The server's own sources for what threads share, built over loom's atomics, locks and threads.
//!
//! Whatever else threads share is somebody else's (`Arc`, `mpsc`, `bytes`), a plain lock (`Board`), or a number that
//! nothing is concluded from (`Pace`, the acceptor's loads).

pub mod bell;
#[path = "../../../src/runtime/mailbox.rs"]
pub mod mailbox;
#[path = "../../../src/runtime/news.rs"]
pub mod news;
#[path = "../../../src/runtime/queue.rs"]
pub mod queue;
#[path = "../../../src/runtime/stop.rs"]
pub mod stop;
#[path = "../../../src/runtime/wake.rs"]
pub mod wake;

/// In the place of `src/runtime/sync.rs`.
pub mod sync {
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
}
