//! One step of a tree, ready to take: a transaction planned against the replica's tree, for the others to follow.

use super::znode::{AclId, Znode};
use crate::base::{AclList, SessionId, Zxid};

#[derive(Clone, Debug)]
pub enum Change {
    /// A new znode under an existing parent, whose stored cversion and pzxid become these.
    Insert {
        node: Znode,
        parent_cversion: i32,
        parent_pzxid: Zxid,
    },
    /// The znode (its last version) is gone; its parent's pzxid becomes this.
    Remove {
        node: Znode,
        parent_pzxid: Zxid,
    },
    /// A new version by setData: watches hear of it.
    SetData {
        node: Znode,
    },
    /// A new version by setACL: nobody hears of it (parity WA-23).
    SetAcl {
        node: Znode,
    },
    /// A quota's usage node rewritten in place: neither a transaction nor a watch event (parity Q-07).
    Usage {
        node: Znode,
    },
    /// An ACL list gets its id, before the first znode that uses it.
    DefineAcl {
        id: AclId,
        list: AclList,
    },
    /// Nobody uses that list any more.
    ForgetAcl {
        id: AclId,
    },
    SessionOpened {
        session: SessionId,
        timeout_ms: i32,
    },
    SessionClosed {
        session: SessionId,
    },
}
