//! What the replica makes of other members: a server without an ensemble has none.

use super::{Effects, PeerEffect, PeerNews, Replica};
use crate::base::Now;

impl Replica {
    /// News of the connections to other members.
    pub fn on_peer(&mut self, news: PeerNews<'_>, _now: Now, out: &mut Effects) {
        if let PeerNews::Accepted { link, .. } = news {
            // Nobody has any business here.
            out.peer.push(PeerEffect::Close { link });
        }
    }
}
