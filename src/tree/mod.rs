//! The tree of znodes: what every replica holds in memory, and the only rules by which it changes.
//!
//! A znode's payload ([`Znode`]) is immutable and shared by every tree of the process; each tree owns only
//! its index. The replica's tree plans ([`Tree::apply`]: a transaction becomes [`Change`]s), a shard's tree
//! follows ([`Tree::absorb`]). A read borrows: it touches no reference count and allocates nothing.
//!
//! Does not know: who is asking, what a session is doing, or what is durable.

mod change;
mod znode;

pub use change::Change;
pub use znode::{AclId, Znode, ZnodeKind};
