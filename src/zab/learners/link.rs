//! One learner's link: who it is, how far it is, and what it has said and not been understood yet.

use bytes::Bytes;

use super::backlog::Backlog;
use super::{MasterEffect, SyncKind};
use crate::base::{Instant, LinkId, ServerId, Zxid};
use crate::codec::peer_stream::PacketStream;

/// How far a learner is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::zab) enum LinkStage {
    /// Connected, its FOLLOWERINFO has not come.
    Greeting,
    /// Waits for the epoch: its own acceptedEpoch is counted.
    Waiting,
    /// LEADERINFO sent.
    Informed,
    /// ACKEPOCH came; waits for a quorum of them.
    Promised,
    /// It is being sent what it lacks; NEWLEADER is queued behind that.
    Syncing,
    /// It acknowledged NEWLEADER.
    Acked,
    /// UPTODATE sent: it serves.
    Live,
}

#[derive(Debug)]
pub(in crate::zab) struct Link {
    pub server: ServerId,
    /// A voter of the view; others are observers to every count.
    pub votes: bool,
    /// Came with OBSERVERINFO: gets INFORM instead of PROPOSAL and COMMIT.
    pub observes: bool,
    pub stage: LinkStage,
    pub heard: Instant,
    /// Its last transaction, as ACKEPOCH said.
    pub peer: Zxid,
    /// A synchronization that is not sent yet, and the packets that wait behind it.
    pub(super) held: Option<Backlog>,
    /// How it is synchronized, once that is decided.
    pub(super) sync: Option<SyncKind>,
    /// Commits above this are its business.
    pub after: Zxid,
    pub acked: Zxid,
    /// It gets every ping from the first on.
    pub(super) pinged: bool,
    /// How many rounds of pings were over before that, and those it has answered since.
    pub rounds_answered: u64,
    /// A proposal it had not acknowledged when it was looked at last, and when that was.
    pub owes: Option<(Zxid, Instant)>,
    pub(super) input: PacketStream,
}

impl Link {
    pub(super) fn new(now: Instant) -> Link {
        Link {
            server: ServerId(-1),
            votes: false,
            observes: false,
            stage: LinkStage::Greeting,
            heard: now,
            peer: Zxid::ZERO,
            held: None,
            sync: None,
            after: Zxid::ZERO,
            acked: Zxid::ZERO,
            pinged: false,
            rounds_answered: 0,
            owes: None,
            input: PacketStream::default(),
        }
    }

    /// Whether it is sent the live stream: its synchronization has at least been decided.
    pub(super) fn is_fed(&self) -> bool {
        self.stage >= LinkStage::Syncing
    }

    pub(super) fn is_syncing(&self, kind: SyncKind) -> bool {
        self.sync == Some(kind) && self.stage <= LinkStage::Syncing
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Behind everything queued so far. Returns whether there is room for it.
    pub(super) fn queue<E: From<MasterEffect>>(&mut self, link: LinkId, bytes: Bytes, out: &mut Vec<E>) -> bool {
        match &mut self.held {
            Some(held) => held.push(bytes),
            None => {
                out.push(MasterEffect::Send { link, bytes }.into());
                true
            }
        }
    }
}
