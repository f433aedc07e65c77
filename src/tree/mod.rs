//! The tree of znodes: what every replica holds in memory, and the only rules by which it changes.
//!
//! A znode's payload ([`Znode`]) is immutable and shared by every tree of the process; each tree owns only
//! its index. The replica's tree plans ([`Tree::apply`]: a transaction becomes [`Change`]s), a shard's tree
//! follows ([`Tree::absorb`]). A read borrows: it touches no reference count and allocates nothing.
//!
//! | file | what |
//! |---|---|
//! | `znode` | one version of one znode; what its stored owner means |
//! | `slab`, `names` | the index: slots threaded into lists of children, and paths to slots |
//! | `store` | [`Tree`] and its reads |
//! | `edit` | the few ways the index changes, each undoable and seen by an open snapshot |
//! | `apply`, `absorb` | a transaction, planned; its changes, followed |
//! | `quota`, `digest`, `acl_table` | what `apply` keeps true beside the znodes |
//! | `walk`, `loader` | an exact snapshot in slices, and the way back |
//! | `acl`, `auth`, `ip` | who may do what |
//!
//! Does not know: who is asking, what a session is doing, or what is durable.

mod absorb;
pub mod acl;
mod acl_table;
mod apply;
pub mod auth;
mod change;
mod digest;
mod edit;
mod ip;
mod loader;
#[cfg(test)]
mod model;
mod names;
mod quota;
mod slab;
mod store;
mod walk;
mod znode;

pub use change::Change;
pub use loader::TreeLoader;
pub use quota::{Limits, QuotaView, Usage, is_dead_limit_path};
pub use store::{Node, Tree};
pub use walk::SnapshotNode;
pub use znode::{AclId, CONTAINER_OWNER, Meta, OwnerRules, TTL_MAX_MS, Znode, ZnodeKind, looks_like_ttl, ttl_owner};
