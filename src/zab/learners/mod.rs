//! Those who learn from this server, each on a link of its own: what they are sent, in which order, and how long they
//! may be silent.
//!
//! A leader has followers and observers, a follower may have observers; what their links need is the same. Bytes become
//! packets; a synchronization leaves as fast as it is taken, and the live stream waits behind it (`backlog.rs`); silence
//! ends a link. Who may follow, what is proposed and what is committed is the affair of whoever masters them.
//!
//! Source: ZK: LearnerMaster, LearnerHandler (spec: quorum 8 to 10).

mod backlog;
mod link;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(super) use link::{Link, LinkStage};

use crate::base::{AuthIds, Instant, LinkId, ServerId, SessionId, Zxid};
use crate::codec::peer::{
    Forwarded, LeaderInfo, PROTOCOL_VERSION, Packet, PacketKind, Revalidate, Revalidated, decode_touches,
};

/// Limits of time, in milliseconds (spec: quorum 16).
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub tick_ms: u64,
    /// `initLimit`: to agree on an epoch and to synchronize.
    pub init_ms: u64,
    /// `syncLimit`: to be silent, or to leave a proposal unacknowledged.
    pub sync_ms: u64,
    /// How often learners are spoken to; at most half a tick.
    pub ping_ms: u64,
}

/// What an operator allows learners.
#[derive(Clone, Copy, Debug)]
pub struct LearnerLimits {
    pub timing: Timing,
    /// What a packet's fields may be long, in bytes (`jute.maxbuffer` and its extra size).
    pub field_bytes_max: usize,
    /// Snapshots under way beyond which no observer is sent one (`leader.maxConcurrentSnapSyncs`).
    pub snap_syncs_max: usize,
    /// The same for what a learner lacks without a snapshot (`leader.maxConcurrentDiffSyncs`).
    pub diff_syncs_max: usize,
    /// What may wait behind one learner's synchronization, in bytes of memory.
    pub backlog_bytes_max: usize,
}

/// How a learner is synchronized, as far as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncKind {
    /// DIFF, or TRUNC.
    Diff,
    Snap,
}

/// What a master of learners asks of its owner.
#[derive(Debug)]
pub enum MasterEffect {
    Send {
        link: LinkId,
        bytes: Bytes,
    },
    /// Say when everything sent so far has left, with [`Learners::on_drained`].
    TellDrained {
        link: LinkId,
    },
    Close {
        link: LinkId,
    },
    /// This learner's last transaction is `peer` (-1: it has nothing): send it what it lacks with [`Learners::feed`],
    /// [`Learners::feed_snapshot`] or [`Learners::await_stretch`], then let it follow.
    Sync {
        link: LinkId,
        server: ServerId,
        peer: Zxid,
    },
    /// Read on in this learner's stretch of the journal, for [`Learners::feed_stretch`].
    ReadOn {
        link: LinkId,
    },
    /// A learner's client wants something ordered.
    Request {
        link: LinkId,
        request: Forwarded,
        ids: AuthIds,
    },
    Revalidate {
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
    },
    /// A learner heard these sessions since it last said so.
    Heard {
        sessions: Vec<(SessionId, i32)>,
    },
}

/// Why a learner is dropped that is too slow for its synchronization.
const OVERFLOWS: &str = "more was written than may wait behind its synchronization";

/// The links of one master. Effects go to a vector of its own kind.
#[derive(Debug)]
pub struct Learners {
    links: BTreeMap<LinkId, Link>,
    limits: LearnerLimits,
    /// Rounds so far.
    round: u64,
}

impl Learners {
    pub(super) fn new(limits: LearnerLimits) -> Learners {
        Learners { links: BTreeMap::new(), limits, round: 0 }
    }

    pub(super) fn timing(&self) -> Timing {
        self.limits.timing
    }

    /// How many rounds there were in which learners, or others in their place, were asked whom they follow; see
    /// [`Link::rounds_answered`].
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Begins one. That the learners are asked is [`Learners::ping`]'s affair.
    pub(super) fn next_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// A learner connected.
    pub(super) fn add(&mut self, link: LinkId, now: Instant) {
        self.links.insert(link, Link::new(now));
    }

    pub fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(link, state)| (*link, state))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Link)> {
        self.links.iter_mut().map(|(link, state)| (*link, state))
    }

    pub(super) fn at(&self, stage: LinkStage) -> Vec<LinkId> {
        self.iter().filter(|(_, state)| state.stage == stage).map(|(link, _)| link).collect()
    }

    /// The connection ended on the learner's side.
    pub fn on_gone(&mut self, link: LinkId) {
        if let Some(gone) = self.links.remove(&link)
            && gone.stage >= LinkStage::Waiting
        {
            tracing::info!(server = %gone.server, "learner gone");
        }
    }

    pub fn drop_link<E: From<MasterEffect>>(&mut self, link: LinkId, why: &str, out: &mut Vec<E>) {
        if let Some(dropped) = self.links.get(&link) {
            tracing::warn!(server = %dropped.server, why, "learner dropped");
            out.push(MasterEffect::Close { link }.into());
            self.on_gone(link);
        }
    }

    /// Bytes of a learner: its packets can be taken with [`Learners::next_packet`].
    pub(super) fn receive(&mut self, link: LinkId, bytes: &[u8], now: Instant) {
        if let Some(state) = self.links.get_mut(&link) {
            state.heard = now;
            state.input.push(bytes);
        }
    }

    /// The next packet that is there as a whole. An error costs the link.
    pub(super) fn next_packet<E: From<MasterEffect>>(&mut self, link: LinkId, out: &mut Vec<E>) -> Option<Packet> {
        match self.links.get_mut(&link)?.input.next(self.limits.field_bytes_max) {
            Ok(packet) => packet,
            Err(malformed) => {
                self.drop_link(link, malformed.0, out);
                None
            }
        }
    }

    /// A packet that means the same to every master. An error costs the link.
    pub(super) fn on_packet<E: From<MasterEffect>>(
        &mut self,
        link: LinkId,
        packet: Packet,
        out: &mut Vec<E>,
    ) -> Result<(), &'static str> {
        let data = packet.data.as_deref().unwrap_or_default();
        match packet.kind {
            PacketKind::Ping => {
                let sessions = decode_touches(data).map_err(|malformed| malformed.0)?;
                if !sessions.is_empty() {
                    out.push(MasterEffect::Heard { sessions }.into());
                }
            }
            PacketKind::Revalidate => {
                let Revalidate { session, timeout_ms } = Revalidate::decode(data).map_err(|malformed| malformed.0)?;
                out.push(MasterEffect::Revalidate { link, session, timeout_ms }.into());
            }
            PacketKind::Request => {
                let data = packet.data.ok_or("a request without data")?;
                let request = Forwarded::decode(&data).map_err(|malformed| malformed.0)?;
                out.push(MasterEffect::Request { link, request, ids: packet.auth.unwrap_or_default() }.into());
            }
            _ => {} // The reference logs and ignores what it does not know, and so do we.
        }
        Ok(())
    }

    /// A server that comes back faster than its old connection dies has but one.
    pub(super) fn replace<E: From<MasterEffect>>(&mut self, link: LinkId, server: ServerId, out: &mut Vec<E>) {
        let is_old = |(id, old): &(LinkId, &Link)| {
            *id != link && old.server == server && server.0 >= 0 && old.stage > LinkStage::Greeting
        };
        let old = self.iter().find(is_old).map(|(old, _)| old);
        if let Some(old) = old {
            self.drop_link(old, "it connected anew", out);
        }
    }

    /// The epoch is known: LEADERINFO.
    pub(super) fn inform<E: From<MasterEffect>>(&mut self, link: LinkId, epoch: i64, out: &mut Vec<E>) {
        let info = LeaderInfo { protocol_version: PROTOCOL_VERSION };
        self.send(link, &Packet::with(PacketKind::LeaderInfo, Zxid::begin_of(epoch), info.encode()), out);
        if let Some(state) = self.links.get_mut(&link) {
            state.stage = LinkStage::Informed;
        }
    }

    /// It has our history, and that is everybody's.
    pub(super) fn say_up_to_date<E: From<MasterEffect>>(&mut self, link: LinkId, out: &mut Vec<E>) {
        self.send(link, &Packet::bare(PacketKind::UpToDate, Zxid(-1)), out);
        if let Some(state) = self.links.get_mut(&link) {
            state.stage = LinkStage::Live;
            tracing::info!(server = %state.server, votes = state.votes, "learner is up to date");
        }
    }

    /// A learner's synchronization begins; it lasts until NEWLEADER is acknowledged. Returns how many of its kind are under
    /// way, or `None` if it is an observer and one too many: then its link is closed, and it may try again.
    ///
    /// Voters are never kept waiting, but counted (ZK: LearnerSyncThrottler).
    pub fn begin_sync<E: From<MasterEffect>>(
        &mut self,
        link: LinkId,
        kind: SyncKind,
        out: &mut Vec<E>,
    ) -> Option<usize> {
        let under_way = 1 + self.iter().filter(|(id, state)| *id != link && state.is_syncing(kind)).count();
        let max = match kind {
            SyncKind::Diff => self.limits.diff_syncs_max,
            SyncKind::Snap => self.limits.snap_syncs_max,
        };
        let state = self.links.get_mut(&link)?;
        if state.observes && under_way > max {
            self.drop_link(link, "too many learners are being synchronized", out);
            return None;
        }
        state.sync = Some(kind);
        Some(under_way)
    }

    /// Answers a learner's question about a session.
    pub fn revalidated<E: From<MasterEffect>>(&mut self, link: LinkId, answer: &Revalidated, out: &mut Vec<E>) {
        self.send(link, &Packet::with(PacketKind::Revalidate, Zxid(-1), answer.encode()), out);
    }

    pub(super) fn send<E: From<MasterEffect>>(&mut self, link: LinkId, packet: &Packet, out: &mut Vec<E>) {
        self.feed(link, packet.to_bytes(), out);
    }

    /// Queues whole packets for a learner, behind everything queued so far.
    pub fn feed<E: From<MasterEffect>>(&mut self, link: LinkId, bytes: Bytes, out: &mut Vec<E>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !state.queue(link, bytes, out) {
            self.drop_link(link, OVERFLOWS, out);
        }
    }

    /// As [`Learners::feed`], for every learner that gets the live stream: what `packet` says is its part of it.
    pub(super) fn feed_all<E: From<MasterEffect>>(
        &mut self,
        out: &mut Vec<E>,
        mut packet: impl FnMut(&Link) -> Option<Bytes>,
    ) {
        let mut overflowing = Vec::new();
        for (link, state) in self.links.iter_mut().filter(|(_, state)| state.is_fed()) {
            let Some(bytes) = packet(state) else { continue };
            if !state.queue(*link, bytes, out) {
                overflowing.push(*link);
            }
        }
        for link in overflowing {
            self.drop_link(link, OVERFLOWS, out);
        }
    }

    /// Speaks to everybody who is synchronized: it is how they know that this server lives, and by their answers this
    /// server knows who learnt from it in this round.
    pub(super) fn ping<E: From<MasterEffect>>(&mut self, last: Zxid, out: &mut Vec<E>) {
        let round = self.next_round();
        let bytes = Packet::bare(PacketKind::Ping, last).to_bytes();
        for (link, state) in &mut self.links {
            if state.stage >= LinkStage::Acked && !state.is_held() {
                if !std::mem::replace(&mut state.pinged, true) {
                    state.rounds_answered = round - 1;
                }
                out.push(MasterEffect::Send { link: *link, bytes: bytes.clone() }.into());
            }
        }
    }

    /// A learner that says nothing holds up nobody for longer than this.
    pub(super) fn drop_silent<E: From<MasterEffect>>(&mut self, now: Instant, out: &mut Vec<E>) {
        let timing = self.limits.timing;
        let is_silent = |state: &Link| {
            let allowed_ms = match state.stage {
                LinkStage::Acked | LinkStage::Live => timing.sync_ms,
                _ => timing.init_ms + timing.sync_ms,
            };
            now.millis_since(state.heard) > allowed_ms
        };
        let silent: Vec<LinkId> = self.iter().filter(|(_, state)| is_silent(state)).map(|(link, _)| link).collect();
        for link in silent {
            self.drop_link(link, "nothing was heard of it for syncLimit", out);
        }
    }

    /// Those that follow, for the operator.
    pub fn reports(&self) -> impl Iterator<Item = LearnerReport> {
        self.links.values().filter(|link| link.stage >= LinkStage::Syncing).map(|link| LearnerReport {
            server: link.server,
            votes: link.votes,
            observes: link.observes,
            synced: link.stage == LinkStage::Live,
            acked: link.acked,
        })
    }
}

/// One learner, as an operator sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerReport {
    pub server: ServerId,
    pub votes: bool,
    pub observes: bool,
    pub synced: bool,
    pub acked: Zxid,
}
