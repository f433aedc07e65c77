//! A snapshot on its way to a learner, and what must not overtake it.
//!
//! A million znodes are more bytes than may wait on a link, and a learner may be slow: the snapshot is a stream that
//! becomes bytes only as fast as they leave. Proposals, commits and NEWLEADER queue behind it. Of a learner that takes
//! its time nothing is heard meanwhile; that it takes bytes is its sign of life.
//!
//! A snapshot is of memory, which runs ahead: nothing of it leaves before all it shows is committed.

use std::fmt;

use bytes::Bytes;

use super::{Learners, MasterEffect};
use crate::base::{Instant, LinkId, Zxid, limits};

/// Chunks made at a time: enough to keep a link busy through a turn, and a short turn.
const CHUNKS_AT_ONCE: usize = 2;

/// What may wait behind a snapshot, in bytes of memory. It all goes to the link at once in the end, so it is well below
/// what may wait there.
const PACKET_BYTES_MAX: usize = limits::PEER_OUTPUT_MAX_BYTES / 2;

/// What a packet costs beside its bytes.
const PACKET_COST: usize = 64;

/// What one link has not been sent yet.
pub(super) struct Backlog {
    /// Nothing leaves before this is committed; `None` = it is leaving.
    waits_for: Option<Zxid>,
    stream: Box<dyn Iterator<Item = Bytes> + Send>,
    /// Behind the stream, in order.
    packets: Vec<Bytes>,
    cost: usize,
    cost_max: usize,
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog").field("waits_for", &self.waits_for).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Backlog {
    fn new(through: Zxid, stream: Box<dyn Iterator<Item = Bytes> + Send>) -> Backlog {
        Backlog { waits_for: Some(through), stream, packets: Vec::new(), cost: 0, cost_max: PACKET_BYTES_MAX }
    }

    /// Adds a packet at the end. Returns whether there is room for it.
    pub fn push(&mut self, bytes: Bytes) -> bool {
        self.cost += bytes.len() + PACKET_COST;
        self.packets.push(bytes);
        self.cost <= self.cost_max
    }
}

impl Learners {
    /// Queues a snapshot that shows everything up to `through`: packet `first`, then `stream`, made into bytes as fast
    /// as the learner takes them. What is queued from now on waits behind it. `committed`: the last commit.
    pub fn feed_snapshot<E: From<MasterEffect>>(
        &mut self,
        link: LinkId,
        (through, committed): (Zxid, Zxid),
        first: Bytes,
        stream: impl Iterator<Item = Bytes> + Send + 'static,
        out: &mut Vec<E>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        assert!(state.held.is_none(), "a learner is synchronized once");
        state.held = Some(Backlog::new(through, Box::new(std::iter::once(first).chain(stream))));
        if through <= committed {
            self.stream_on(link, out);
        }
    }

    /// More is committed: snapshots that waited for it may leave.
    pub(in crate::zab) fn start_streams<E: From<MasterEffect>>(&mut self, committed: Zxid, out: &mut Vec<E>) {
        let due = |held: &Backlog| held.waits_for.is_some_and(|through| through <= committed);
        let ready: Vec<LinkId> =
            self.iter().filter(|(_, state)| state.held.as_ref().is_some_and(due)).map(|(link, _)| link).collect();
        for link in ready {
            self.stream_on(link, out);
        }
    }

    /// Everything sent to this learner has left.
    pub fn on_drained<E: From<MasterEffect>>(&mut self, link: LinkId, now: Instant, out: &mut Vec<E>) {
        if let Some(state) = self.links.get_mut(&link)
            && state.held.is_some()
        {
            state.heard = now;
            self.stream_on(link, out);
        }
    }

    /// The next chunks; behind the last, all that waited.
    fn stream_on<E: From<MasterEffect>>(&mut self, link: LinkId, out: &mut Vec<E>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let Some(held) = &mut state.held else { return };
        held.waits_for = None;
        let mut count = 0;
        for bytes in held.stream.by_ref().take(CHUNKS_AT_ONCE) {
            out.push(MasterEffect::Send { link, bytes }.into());
            count += 1;
        }
        if count > 0 {
            out.push(MasterEffect::TellDrained { link }.into());
        } else if let Some(held) = state.held.take() {
            out.extend(held.packets.into_iter().map(|bytes| E::from(MasterEffect::Send { link, bytes })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ServerId;
    use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};
    use crate::zab::{Leader, LeaderEffect, Timing, View};

    const OBSERVER: LinkId = LinkId(1);
    const TIMING: Timing = Timing { tick_ms: 100, init_ms: 1000, sync_ms: 500, ping_ms: 50 };

    fn packet(kind: PacketKind, zxid: Zxid, data: Bytes) -> Vec<u8> {
        Packet::with(kind, zxid, data).to_bytes().to_vec()
    }

    /// Alone among voters and established, with an observer that is to be synchronized.
    fn leader(out: &mut Vec<LeaderEffect>) -> Leader {
        let view = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:observer;0.0.0.0:3\nversion=0";
        let view = View::parse(view).unwrap().into();
        let now = Instant(0);
        let mut leader = Leader::new(ServerId(1), view, TIMING, (0, 0), Zxid::ZERO, 1 << 20, now, out);
        leader.on_promised(now, out);
        leader.on_adopted(now, out);
        assert!(leader.is_established());
        let info = LearnerInfo { server: ServerId(2), protocol_version: PROTOCOL_VERSION, config_version: 0 };
        leader.on_link(OBSERVER, now);
        leader.on_bytes(OBSERVER, &packet(PacketKind::ObserverInfo, Zxid::ZERO, info.encode()), now, out);
        let promise = AckEpoch { current_epoch: 0 }.encode();
        leader.on_bytes(OBSERVER, &packet(PacketKind::AckEpoch, Zxid(-1), promise), now, out);
        assert!(
            out.iter().any(|effect| matches!(effect, LeaderEffect::Learner(MasterEffect::Sync { link: OBSERVER, .. })))
        );
        out.clear();
        leader
    }

    fn sent(out: &mut Vec<LeaderEffect>) -> Vec<Vec<u8>> {
        let bytes = |effect| match effect {
            LeaderEffect::Learner(MasterEffect::Send { link: OBSERVER, bytes }) => Some(bytes.to_vec()),
            _ => None,
        };
        out.drain(..).filter_map(bytes).collect()
    }

    /// A snapshot of five chunks, which shows everything up to `through`.
    fn feed(leader: &mut Leader, through: Zxid, out: &mut Vec<LeaderEffect>) {
        let committed = leader.last_committed();
        let first = Bytes::from_static(b"snap");
        leader.learners_mut().feed_snapshot(OBSERVER, (through, committed), first, chunks(5), out);
    }

    fn chunks(count: u8) -> impl Iterator<Item = Bytes> {
        (0..count).map(|number| Bytes::from(vec![number]))
    }

    #[test]
    fn a_snapshot_leaves_as_fast_as_it_is_taken_and_nothing_overtakes_it() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        let zxid = Zxid(1 << 32 | 1);
        leader.propose(zxid, Bytes::from_static(b"record"), &mut out);
        feed(&mut leader, zxid, &mut out);
        leader.follow(OBSERVER, zxid, zxid, "version=0", &mut out);
        assert!(sent(&mut out).is_empty(), "it shows what is not committed");
        leader.learners_mut().on_drained(LinkId(9), Instant(0), &mut out);
        leader.on_own_durable(zxid, &mut out);
        assert_eq!(sent(&mut out), [b"snap".to_vec(), vec![0]]);
        // It is slow, but it takes what it is sent: neither silence nor a ping comes between.
        let second = Zxid(1 << 32 | 2);
        leader.propose(second, Bytes::from_static(b"another"), &mut out);
        leader.on_own_durable(second, &mut out);
        for (turn, chunk) in [(1, [1, 2]), (2, [3, 4])] {
            leader.on_tick(Instant(turn * 1_400_000), &mut out);
            leader.learners_mut().on_drained(OBSERVER, Instant(turn * 1_400_000), &mut out);
            assert_eq!(sent(&mut out), chunk.map(|number| vec![number]));
        }
        leader.learners_mut().on_drained(OBSERVER, Instant(2_800_000), &mut out);
        let last = sent(&mut out);
        assert_eq!(last.len(), 2, "NEWLEADER and the INFORM of what was written meanwhile");
        assert_eq!(last[0][..4], (PacketKind::NewLeader.code()).to_be_bytes());
        assert_eq!(last[1][..4], (PacketKind::Inform.code()).to_be_bytes());
        leader.learners_mut().on_drained(OBSERVER, Instant(2_800_000), &mut out);
        assert!(out.is_empty(), "{out:?}");
        // Now it has to answer.
        leader.on_tick(Instant(4_400_000), &mut out);
        assert!(
            out.iter().any(|effect| matches!(effect, LeaderEffect::Learner(MasterEffect::Close { link: OBSERVER }))),
            "{out:?}"
        );
    }

    #[test]
    fn a_learner_that_takes_nothing_of_its_snapshot_is_dropped() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        feed(&mut leader, Zxid::ZERO, &mut out);
        leader.follow(OBSERVER, Zxid::ZERO, Zxid::ZERO, "version=0", &mut out);
        leader.on_tick(Instant(1_600_000), &mut out);
        assert!(!leader.learners().has(OBSERVER));
    }

    #[test]
    fn what_waits_behind_a_snapshot_is_bounded() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        feed(&mut leader, Zxid::ZERO, &mut out);
        leader.learners_mut().links.get_mut(&OBSERVER).unwrap().held.as_mut().unwrap().cost_max = 1000;
        leader.learners_mut().feed(OBSERVER, Bytes::from(vec![0; 800]), &mut out);
        assert!(leader.learners().has(OBSERVER));
        leader.learners_mut().feed(OBSERVER, Bytes::from(vec![0; 100]), &mut out);
        assert!(!leader.learners().has(OBSERVER));
    }
}
