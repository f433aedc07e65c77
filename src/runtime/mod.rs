//! The real driver of the two machines: cores, sockets, files and clocks. The only folder that knows glommio,
//! and the only one with `unsafe`.
//!
//! ```text
//!   executor = one pinned thread, one glommio loop, one driver task (driver.rs)
//!
//!     epoll (poller.rs) <- client sockets, listeners, the mailbox' eventfd, the tick's timerfd
//!        |
//!     turn: mail -> readable sockets -> machines -> dirty sockets -> mail out, one wake for each neighbour
//!        |
//!     nothing left: sleep in epoll_wait; while the disk task has chores, in glommio's ring until either has news
//!
//!   journal = one thread beside the replica's executor, one synced write at a time (journal_thread.rs says why);
//!             a lone client's small batch is written by the executor itself (disk.rs)
//! ```
//!
//! What these threads share (wake.rs, mailbox.rs, news.rs, queue.rs, stop.rs) takes its locks and atomics from sync.rs, so
//! that `tests/loom` can put its own in their place.
//!
//! Readiness comes from epoll because it costs a connection nothing while it is idle and nothing per request to
//! re-arm. A turn reads every ready connection into one
//! scratch buffer and sends each dirty one's replies with one system call.
//!
//! Does not know: what a request, a znode or a session is.

mod accept;
mod bell;
mod chores;
mod clock;
mod company;
mod descriptors;
mod disk;
mod driver;
mod ensemble;
mod epochs;
mod files;
mod host;
mod journal_file;
mod journal_thread;
mod machines;
mod mailbox;
mod net;
mod news;
mod peers;
mod placement;
mod poller;
mod probe;
mod queue;
mod serve;
mod signals;
mod snapshot_file;
mod standalone;
mod stop;
mod stretches;
mod sync;
mod wake;

pub use accept::{Admission, NoLimits, Refusal};
pub use descriptors::make_room;
pub use ensemble::{ensemble_settings, peer_setup};
pub use files::{DataDirs, LockError};
pub use host::{Board, Host};
pub use journal_thread::ask_for_short_slices;
pub use machines::{ReplicaMachine, ShardMachine};
pub use mailbox::{Inbox, Outbox, mailbox};
pub use peers::PeerListen;
pub use placement::Place;
pub use serve::{Booted, PeerSetup, ServeError, Setup, serve};
pub use standalone::standalone;
pub use wake::Wake;
