//! From the replication core to the shards: the committed stream, and answers to what was submitted.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Report, SurveyKind};
use crate::base::{ConnId, ErrorCode, Origin, SessionId, Stat, Xid, Zxid};
use crate::tree::{Change, Tree, Znode};

/// What one transaction changes. Two fit in place: most transactions make one or two.
pub type Changes = SmallVec<[Change; 2]>;

/// One step of the committed stream: what changed, and who waits for it. Every shard gets every entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The last committed zxid after this entry. Entries that only carry an answer repeat the one before.
    pub zxid: Zxid,
    pub changes: Changes,
    /// For one connection of one shard: sent after the watch events of `changes`.
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub to: Origin,
    pub kind: AnswerKind,
}

#[derive(Clone, Debug)]
pub enum AnswerKind {
    /// The answer to the oldest unanswered `Submit` of that connection. After closeSession the shard closes.
    Reply { xid: Xid, error: Option<ErrorCode>, body: Body },
    /// The handshake succeeded: the session is this connection's.
    Granted { session: SessionId, timeout_ms: i32 },
    /// No such live session: answer the handshake with zeros and close (parity H-14).
    Refused,
    /// The client has seen a later zxid than this server has committed: close without a word (H-08).
    Behind,
    /// Close without a word: the session expired, was renewed elsewhere, or is not this connection's.
    Hangup,
}

/// A write's reply record. The znode's path is the created path.
#[derive(Clone, Debug)]
pub enum Body {
    None,
    Path(Znode),
    PathStat(Znode, Stat),
    Stat(Stat),
    /// `sync`'s path and the slots of a multi, encoded already.
    Encoded(Bytes),
}

/// Whom a server lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Service {
    /// No client: a member without a leader to follow or a quorum to lead.
    Nobody,
    /// Clients that asked to be let in even so, for reads of what this server has (`readonlymode.enabled`).
    ReadOnly,
    #[default]
    Everybody,
}

/// The state that a shard goes on from.
pub struct Past {
    pub tree: Tree,
    pub zxid: Zxid,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("zxid", &self.zxid).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub enum ToShard {
    /// What one journal batch made durable, in order.
    Batch(Arc<[Entry]>),
    /// Whom to let in from now on. Whoever was let in before by another rule is hung up on.
    Serve(Service),
    /// The past is another one (TRUNC, SNAP): this is the state now. Nobody is being served.
    Reset(Box<Past>),
    /// Tell the replica your part (`ToReplica::Surveyed`). `reset` kinds clear the counters they name.
    Survey { ticket: u64, kind: SurveyKind },
    /// The whole server's numbers, for the connection that asked.
    Report { conn: ConnId, kind: SurveyKind, report: Arc<Report> },
}
