//! What the replica asks of the connections to other members, and what it is told of them.
//!
//! One vocabulary for both ports. Bytes of a link keep their order; nothing is promised across links. The driver
//! knows no protocol: what a byte means is decided by the machines behind [`Replica`](super::Replica).

use std::net::SocketAddr;

use bytes::Bytes;

use crate::base::{LinkId, PeerAddress};

/// The listeners of a member (`server.N=host:quorumPort:electionPort`, `observerMasterPort`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerPort {
    Election,
    Quorum,
    /// Of a voter, for observers to learn from it while it follows.
    Observers,
}

/// The two numbers a member keeps beside its data (ZK: `acceptedEpoch`, `currentEpoch`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EpochFile {
    /// The last epoch promised to a leader.
    Accepted,
    /// The last epoch whose history this member has.
    Current,
}

/// To be carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerEffect {
    /// Connect to one of `to`: all are tried at once, the first that answers wins. Names are resolved anew each
    /// time. Answered by [`PeerNews::Connected`] or [`PeerNews::Closed`].
    Dial { link: LinkId, to: Vec<PeerAddress>, timeout_ms: u64 },
    /// Queue bytes; one write where possible.
    Send { link: LinkId, bytes: Bytes },
    /// Tell once when everything queued so far has left, with [`PeerNews::Drained`].
    TellDrained { link: LinkId },
    /// Send what is queued, then close. No news of the link follows.
    Close { link: LinkId },
    /// Ask the oracle; answered by [`PeerNews::OracleSays`].
    AskOracle,
    /// Make the number durable under its file's name (written aside, synced, renamed, directory synced). Answered
    /// by [`PeerNews::EpochWritten`]; a failure is `Replica::on_disk_failed`.
    WriteEpoch { file: EpochFile, epoch: i64 },
}

#[derive(Clone, Copy, Debug)]
pub enum PeerNews<'a> {
    /// Somebody connected to our port.
    Accepted {
        link: LinkId,
        port: PeerPort,
        from: SocketAddr,
    },
    /// The dialled link stands.
    Connected {
        link: LinkId,
    },
    Bytes {
        link: LinkId,
        bytes: &'a [u8],
    },
    /// The operating system has taken all that was queued; asked for with [`PeerEffect::TellDrained`].
    Drained {
        link: LinkId,
    },
    /// The peer closed, the dial failed, or more than `limits::PEER_OUTPUT_MAX_BYTES` wait to be sent.
    Closed {
        link: LinkId,
    },
    EpochWritten {
        file: EpochFile,
        epoch: i64,
    },
    /// Whether this one of two voters may go on without the other.
    OracleSays {
        yes: bool,
    },
}
