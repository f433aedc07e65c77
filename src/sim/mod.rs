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

pub use world::{Options, Sabotage, Summary, Violation, World};

/// Lives through the night of `seed`. A violation is lived through again with a trace, which it returns.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Summary, Box<Violation>> {
    let options = Options { seed, sabotage, trace: false };
    World::new(options).run().map_err(|violation| {
        match World::new(Options { trace: true, ..options }).run() {
            Err(traced) if traced.what == violation.what => Box::new(traced),
            // The second run must be the first to the byte; that it was not is worse news than the violation.
            other => Box::new(Violation {
                what: format!("{}; and the replay differs: {other:?}", violation.what),
                ..violation
            }),
        }
    })
}
