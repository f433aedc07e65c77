//! Zab: who leads, what the members agree on, and how a learner catches up (quorum of Apache's peers, byte for byte).
//!
//! Protocol machines without hands: they know packets, zxids, epochs and links, and answer news with effects. The
//! tree, the journal and the sockets belong to those who drive them.
//!
//! Does not know: what a transaction means, when something is durable (it is told), or what a socket is.

mod cadence;
mod election;
mod history;
mod leader;
mod learner;
mod learners;
mod mesh;
mod mesh_peer;
mod observer_master;
mod quorum;
mod view;
mod view_text;
mod vote;

pub use election::{Election, ElectionEffect, ElectionSettings};
pub use history::{History, Plan};
pub use leader::{Elected, Leader, LeaderEffect};
pub use learner::{Learner, LearnerEffect, Summary};
pub use learners::{LearnerLimits, LearnerReport, Learners, MasterEffect, SyncKind, Timing};
pub use mesh::{LinkIds, Mesh, MeshEffect, MeshSettings};
pub use observer_master::ObserverMaster;
pub use view::{Member, MemberAddress, View};
pub use vote::Vote;

#[cfg(test)]
mod election_sim;
#[cfg(test)]
mod election_tests;
#[cfg(test)]
mod leader_tests;
#[cfg(test)]
mod mesh_tests;
