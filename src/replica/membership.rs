//! `/zookeeper/config`: the members, for clients to read (parity ZN-33).
//!
//! Each server writes its own configuration there when it starts, and again when its tree is replaced. It is no
//! transaction: nothing below `/zookeeper/` is in the digest, and every server overwrites what it finds, so members
//! need not agree on it, though their configurations should.
//!
//! Source: ZK: ZKDatabase.initConfigInZKDatabase.

use super::Replica;
use crate::base::{Now, SessionId, Xid, Zxid, path};
use crate::codec::txn::{Txn, TxnHeader};
use crate::mail::Changes;

impl Replica {
    /// Must come before shards copy the tree. A lone server leaves the znode as it is.
    pub(super) fn show_membership(&mut self, now: Now) {
        let Some(ensemble) = &self.ensemble else { return };
        let text = ensemble.settings.config_text();
        let zxid = Zxid(ensemble.settings.view.version);
        if self.tree.get(path::CONFIG).is_some_and(|node| node.data() == Some(text.as_bytes())) {
            return; // Told by the last run, or by a leader of the same opinion.
        }
        let header = TxnHeader { session: SessionId::NONE, cxid: Xid(0), zxid, time: now.wall };
        let set = Txn::Reconfig { path: path::CONFIG.into(), data: Some(text.as_bytes().into()), version: -1 };
        if let Err(error) = self.tree.apply(&header, &set, &mut Changes::new()) {
            tracing::warn!(?error, "there is no znode for the list of members");
        }
    }
}
