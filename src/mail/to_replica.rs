//! From a shard to the replication core.

use bytes::Bytes;

use super::{ShardReport, SurveyKind};
use crate::base::{AuthIds, Instant, Origin, SessionId, ShardId, Xid, Zxid};
use crate::codec::opcode::OpCode;

/// A request that must be ordered: a write, `sync`, or closeSession. Its record has decoded once already.
#[derive(Clone, Debug)]
pub struct Submit {
    pub origin: Origin,
    pub session: SessionId,
    pub xid: Xid,
    pub op: OpCode,
    /// The request's record, without its header, exactly as the client sent it.
    pub body: Bytes,
    pub ids: AuthIds,
}

/// A handshake whose password (for a known session) the shard has checked already.
#[derive(Clone, Debug)]
pub struct Connect {
    pub origin: Origin,
    /// [`SessionId::NONE`] asks for a new session, anything else renews that one.
    pub session: SessionId,
    /// Negotiated: already clamped to this server's limits.
    pub timeout_ms: i32,
    pub last_zxid_seen: Zxid,
}

#[derive(Clone, Debug)]
pub enum ToReplica {
    Connect(Connect),
    Submit(Submit),
    /// The connection ended; its session, if any, lives on until it expires. Answers to it may be dropped.
    Gone {
        origin: Origin,
        session: SessionId,
    },
    /// Which sessions this shard heard since its last such report, and when. `through` promises that every
    /// byte which had arrived by then has been read, so silence up to it is real silence.
    Heard {
        shard: ShardId,
        sessions: Vec<(SessionId, Instant)>,
        through: Instant,
    },
    /// A four-letter word (or admin view) needs numbers of the whole server. Answered with `ToShard::Report`.
    Survey {
        origin: Origin,
        kind: SurveyKind,
    },
    /// This shard's part of a survey, in answer to `ToShard::Survey`.
    Surveyed {
        ticket: u64,
        shard: ShardId,
        report: Box<ShardReport>,
    },
}
