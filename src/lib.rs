//! ringkeeper: a coordination service that Apache ZooKeeper's clients cannot tell from the original.
//!
//! Two pure state machines and a mailbox. A server is one [`replica::Replica`] (the ordering core: a request
//! becomes a transaction, is logged, is committed) and N [`shard::Shard`]s (each owns client connections,
//! watches and a read-only replica of the tree). Neither has a socket, file, clock, thread or `async`: they
//! are told news and answer with effects. Two drivers carry the effects out: `runtime` (glommio, io_uring)
//! and `sim` (an invented network, disk, clock and mailbox, from one seed).
//!
//! ```text
//!   client bytes                                                   disk
//!       |  ^                                                       | ^
//!   ====v==|============ runtime/ or sim/ =========================v=|====
//!     every shard core                              replication core
//!   +------------------+     ToReplica (mail/)      +-------------------+
//!   |  shard::Shard    | -------------------------> |  replica::Replica |
//!   |  FIFO, reads,    |                            |  prep, journal,   |
//!   |  watches, tree   | <------------------------- |  sessions, tree   |
//!   +------------------+   ToShard: committed batch +-------------------+
//! ```
//!
//! Layers, lowest first; a folder may use only folders of lower layers (`tests/tidy.rs` enforces it):
//!
//! | layer | folders | what they know |
//! |---|---|---|
//! | 0 words | [`base`] | ids, time, error codes, paths, limits |
//! | 1 bytes | [`codec`] | jute, frames, requests, replies, transactions |
//! | 2 state | [`tree`], [`watch`], [`session`], [`journal`] | znodes; who waits; who lives; what is durable |
//! | 3 protocol | [`mail`], [`prep`], [`snapshot`], [`zab`] | what crosses cores; request to txn; state as bytes; agreement |
//! | 4 machines | [`shard`], [`replica`], [`admin`] | the two machines, and their read-only views |
//! | 5 drivers | `runtime`, `sim` | sockets, files, time |
//! | 5 tools | [`config`], `bench`, `convert` | zoo.cfg; load on any server; Apache's directories |
//!
//! In front of all of them, and not in this library, stands the binary: `main.rs`, with the command line in `cli`.

pub mod admin;
pub mod base;
pub mod bench;
pub mod codec;
pub mod config;
pub mod convert;
pub mod journal;
pub mod mail;
pub mod prep;
pub mod replica;
pub mod runtime;
pub mod session;
pub mod shard;
pub mod sim;
pub mod snapshot;
pub mod tree;
pub mod watch;
pub mod zab;
