//! The second driver: the same two machines in an invented world, from one seed.
//!
//! A [`World`] is one server (a [`Replica`](crate::replica::Replica) and a few [`Shard`](crate::shard::Shard)s), its
//! disk, and a handful of clients who ask for everything the protocol has. Network, mailbox, disk and both clocks
//! are invented and faulty; what happens, and when, comes from the seed alone. So a bad night is a number.
//!
//! ```text
//!   chaos    cuts, pauses, lies of the disk          watchman   who must be gone by now
//!     |                                                 |
//!   world --- server: effects carried out, news brought in --- disk, net, mailbox
//!     |          |                     |
//!   crowd,     line: every byte of   commit: every record of the journal,
//!   workload   output, judged        judged (judge) and folded (model)
//! ```
//!
//! Three witnesses who share nothing with the machines but the decoder of transactions: [`model`] is the tree
//! as the commit order makes it, [`judge`] says what each request had to become, [`line`] what each connection
//! had to be told. Invariants are named by the numbers of the specification.
//!
//! Does not know: glommio, files, the time of day.

mod chaos;
mod client;
pub mod cluster;
mod commit;
mod crowd;
mod disk;
mod judge;
mod line;
mod model;
mod net;
mod night;
mod quotas;
mod reads;
#[cfg(test)]
mod rebase;
mod rng;
mod server;
mod talk;
mod watches;
mod workload;
mod world;

pub use night::Violation;
use night::live_through;
pub use world::{Options, Sabotage, Summary, World};

/// Lives through the night of `seed`. A violation is lived through again with a trace, which it returns.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Summary, Box<Violation>> {
    live_through(Options { seed, sabotage, trace: false }, |options| World::new(options).run())
}
