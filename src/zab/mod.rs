//! Zab: who leads, what the members agree on, and how a learner catches up (quorum of Apache's peers, byte for byte).
//!
//! Protocol machines without hands: they know packets, zxids, epochs and links, and answer news with effects. The
//! tree, the journal and the sockets belong to those who drive them.
//!
//! Does not know: what a transaction means, when something is durable (it is told), or what a socket is.

mod cadence;
mod history;
mod leader;
mod learner;

pub use history::{History, Plan};
pub use leader::{Leader, LeaderEffect, LearnerReport, Timing};
pub use learner::{Learner, LearnerEffect, Summary};
pub mod election;
pub mod view;
pub mod vote;

mod quorum;
mod view_text;

#[cfg(test)]
mod election_tests;
