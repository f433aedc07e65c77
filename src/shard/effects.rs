//! What a shard asks of its driver. The caller owns the buffer and drains it after each turn.

use crate::base::ConnId;
use crate::mail::ToReplica;

/// Close this connection, after what is in its output has been sent. Take the output now or drain it as ever;
/// `Shard::on_hangup` afterwards is allowed and not needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    pub conn: ConnId,
    /// Reset it (no flush): a limit was exceeded or the peer is not to be waited for.
    pub abort: bool,
}

#[derive(Default, Debug)]
pub struct Effects {
    /// Connections whose output has something to send; each once per turn.
    pub dirty: Vec<ConnId>,
    /// After `dirty`. The shard has forgotten the connection except for its output.
    pub close: Vec<Close>,
    pub resume: Vec<ConnId>,
    pub mail: Vec<ToReplica>,
}
