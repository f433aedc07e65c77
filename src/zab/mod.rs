//! Zab: who leads, what the members agree on, and how a learner catches up (quorum of Apache's peers, byte for byte).
//!
//! Protocol machines without hands: they know packets, zxids, epochs and links, and answer news with effects. The
//! tree, the journal and the sockets belong to those who drive them.
//!
//! Does not know: what a transaction means, when something is durable (it is told), or what a socket is.

pub mod election;
pub mod mesh;
pub mod view;
pub mod vote;

mod mesh_peer;
mod quorum;
mod view_text;

#[cfg(test)]
mod election_sim;
#[cfg(test)]
mod election_tests;
#[cfg(test)]
mod mesh_tests;
