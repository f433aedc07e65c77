//! A synchronization on its way to a learner, and what must not overtake it.
//!
//! A million znodes are more bytes than may wait on a link, and a learner may be slow: a snapshot is a stream that
//! becomes bytes only as fast as they leave, and a stretch of the journal is read only as fast. Proposals, commits and
//! NEWLEADER queue behind it. Of a learner that takes its time nothing is heard meanwhile; that it takes bytes is its
//! sign of life.
//!
//! A snapshot is of memory, which runs ahead: nothing of it leaves before all it shows is committed. Of a stretch nothing
//! leaves before it is proven to be there; until then a snapshot may still take its place.

use std::fmt;

use bytes::Bytes;

use super::link::LinkStage;
use super::{Learners, MasterEffect};
use crate::base::{Instant, LinkId, Zxid};

/// Chunks of a snapshot made at a time: enough to keep a link busy through a turn, and a short turn.
const CHUNKS_AT_ONCE: usize = 2;

/// What a packet costs beside its bytes.
const PACKET_COST: usize = 64;

/// What one link has not been sent yet.
pub(super) struct Backlog {
    source: Source,
    /// Behind it, in order.
    packets: Vec<Bytes>,
    cost: usize,
    cost_max: usize,
}

enum Source {
    /// Nothing leaves before `waits_for` is committed; `None` = it is leaving.
    Snapshot { waits_for: Option<Zxid>, stream: Box<dyn Iterator<Item = Bytes> + Send> },
    /// Nothing leaves before it is proven: then `first`, and what the owner reads.
    Stretch { first: Option<Bytes>, is_over: bool },
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Snapshot { waits_for, .. } => format!("snapshot, waits for {waits_for:?}"),
            Source::Stretch { first, is_over } => format!("stretch, waits {}, over {is_over}", first.is_some()),
        };
        f.debug_struct("Backlog").field("source", &source).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Backlog {
    fn new(source: Source, cost_max: usize) -> Backlog {
        Backlog { source, packets: Vec::new(), cost: 0, cost_max }
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
        let stream = Box::new(std::iter::once(first).chain(stream));
        self.hold(link, Source::Snapshot { waits_for: Some(through), stream });
        if through <= committed {
            self.stream_on(link, out);
        }
    }

    /// Queues a stretch of the journal, to be proven and read by the owner: packet `first`, then what it reads. What is
    /// queued from now on waits behind it.
    pub fn await_stretch(&mut self, link: LinkId, first: Bytes) {
        self.hold(link, Source::Stretch { first: Some(first), is_over: false });
    }

    fn hold(&mut self, link: LinkId, source: Source) {
        let Some(state) = self.links.get_mut(&link) else { return };
        assert!(state.held.is_none(), "a learner is synchronized once");
        state.held = Some(Backlog::new(source, self.limits.backlog_bytes_max));
    }

    /// The stretch can be sent as a whole.
    pub fn on_stretch_proven<E: From<MasterEffect>>(&mut self, link: LinkId, now: Instant, out: &mut Vec<E>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if let Some(Backlog { source: Source::Stretch { first, .. }, .. }) = &mut state.held
            && let Some(first) = first.take()
        {
            state.heard = now; // The time until now was ours.
            out.push(MasterEffect::Send { link, bytes: first }.into());
            out.push(MasterEffect::ReadOn { link }.into());
        }
    }

    /// The stretch cannot be sent, and nothing of it was: what waits is forgotten, the learner is where it was before.
    pub fn on_stretch_refused(&mut self, link: LinkId, now: Instant) {
        if let Some(state) = self.links.get_mut(&link) {
            state.held = None;
            state.stage = LinkStage::Promised;
            state.heard = now;
        }
    }

    /// More of the stretch.
    pub fn feed_stretch<E: From<MasterEffect>>(
        &mut self,
        link: LinkId,
        bytes: Bytes,
        is_last: bool,
        now: Instant,
        out: &mut Vec<E>,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if let Some(Backlog { source: Source::Stretch { is_over, .. }, .. }) = &mut state.held {
            *is_over = is_last;
            state.heard = now;
            out.push(MasterEffect::Send { link, bytes }.into());
            out.push(MasterEffect::TellDrained { link }.into());
        }
    }

    /// More is committed: snapshots that waited for it may leave.
    pub(in crate::zab) fn start_streams<E: From<MasterEffect>>(&mut self, committed: Zxid, out: &mut Vec<E>) {
        let is_due = |held: &Backlog| match &held.source {
            Source::Snapshot { waits_for, .. } => waits_for.is_some_and(|through| through <= committed),
            Source::Stretch { .. } => false,
        };
        let ready: Vec<LinkId> =
            self.iter().filter(|(_, state)| state.held.as_ref().is_some_and(is_due)).map(|(link, _)| link).collect();
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
        let is_over = match &mut held.source {
            Source::Snapshot { waits_for, stream } => {
                *waits_for = None;
                let before = out.len();
                let chunks = stream.by_ref().take(CHUNKS_AT_ONCE);
                out.extend(chunks.map(|bytes| E::from(MasterEffect::Send { link, bytes })));
                if out.len() > before {
                    out.push(MasterEffect::TellDrained { link }.into());
                }
                out.len() == before
            }
            Source::Stretch { is_over: true, .. } => true,
            Source::Stretch { first, .. } => {
                if first.is_none() {
                    out.push(MasterEffect::ReadOn { link }.into());
                }
                false
            }
        };
        if is_over && let Some(held) = state.held.take() {
            out.extend(held.packets.into_iter().map(|bytes| E::from(MasterEffect::Send { link, bytes })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ServerId;
    use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};
    use crate::zab::leader_tests::{TIMING, elected, limits};
    use crate::zab::{Leader, LeaderEffect, View};

    const OBSERVER: LinkId = LinkId(1);

    fn packet(kind: PacketKind, zxid: Zxid, data: Bytes) -> Vec<u8> {
        Packet::with(kind, zxid, data).to_bytes().to_vec()
    }

    /// Alone among voters and established, with an observer that is to be synchronized.
    fn leader(out: &mut Vec<LeaderEffect>) -> Leader {
        let view = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:observer;0.0.0.0:3\nversion=0";
        let view = View::parse(view).unwrap().into();
        let now = Instant(0);
        let mut leader = Leader::new(elected(1, &[]), view, limits(TIMING), now, out);
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

    fn kinds(bytes: &[Vec<u8>]) -> Vec<i32> {
        bytes.iter().map(|bytes| i32::from_be_bytes(*bytes.first_chunk().unwrap())).collect()
    }

    /// The stretch of a learner that has just promised, with one write behind it.
    fn awaiting_stretch(leader: &mut Leader, out: &mut Vec<LeaderEffect>) {
        leader.learners_mut().await_stretch(OBSERVER, Packet::bare(PacketKind::Diff, Zxid(1 << 32)).to_bytes());
        leader.learners_mut().feed(OBSERVER, packet(PacketKind::Commit, Zxid(9), Bytes::new()).into(), out);
        leader.follow(OBSERVER, Zxid::ZERO, Zxid::ZERO, "version=0", out);
    }

    #[test]
    fn nothing_of_a_stretch_leaves_before_it_is_proven_and_nothing_overtakes_it() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        awaiting_stretch(&mut leader, &mut out);
        leader.learners_mut().on_drained(OBSERVER, Instant(0), &mut out);
        let zxid = Zxid(1 << 32 | 1);
        leader.propose(zxid, Bytes::from_static(b"record"), &mut out);
        leader.on_own_durable(zxid, &mut out);
        assert!(sent(&mut out).is_empty());
        leader.learners_mut().on_stretch_proven(OBSERVER, Instant(0), &mut out);
        assert!(matches!(out.last(), Some(LeaderEffect::Learner(MasterEffect::ReadOn { link: OBSERVER }))));
        assert_eq!(kinds(&sent(&mut out)), [PacketKind::Diff.code()]);
        // It is read as fast as it is taken; all that is said meanwhile waits.
        for turn in 1..=3 {
            let now = Instant(turn * 1_400_000);
            leader.on_tick(now, &mut out);
            leader.learners_mut().feed_stretch(OBSERVER, Bytes::from(vec![7; 4]), turn == 3, now, &mut out);
            assert!(matches!(out.last(), Some(LeaderEffect::Learner(MasterEffect::TellDrained { link: OBSERVER }))));
            assert_eq!(sent(&mut out), [vec![7; 4]]);
            leader.learners_mut().on_drained(OBSERVER, now, &mut out);
            let wants_more = matches!(out[..], [LeaderEffect::Learner(MasterEffect::ReadOn { .. })]);
            assert_eq!(wants_more, turn < 3, "{out:?}");
        }
        let due = [PacketKind::Commit, PacketKind::NewLeader, PacketKind::Inform].map(PacketKind::code);
        assert_eq!(kinds(&sent(&mut out)), due);
        leader.learners_mut().on_stretch_proven(OBSERVER, Instant(0), &mut out);
        leader.learners_mut().feed_stretch(OBSERVER, Bytes::new(), true, Instant(0), &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    #[test]
    fn in_the_place_of_a_stretch_that_cannot_be_read_comes_a_snapshot() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        awaiting_stretch(&mut leader, &mut out);
        leader.learners_mut().on_stretch_refused(OBSERVER, Instant(0));
        feed(&mut leader, Zxid::ZERO, &mut out);
        leader.follow(OBSERVER, Zxid::ZERO, Zxid::ZERO, "version=0", &mut out);
        assert_eq!(sent(&mut out)[0], b"snap".to_vec());
        for _ in 0..3 {
            leader.learners_mut().on_drained(OBSERVER, Instant(0), &mut out);
        }
        let last = sent(&mut out).pop().unwrap();
        assert_eq!(kinds(&[last]), [PacketKind::NewLeader.code()], "and nothing of what waited behind the stretch");
    }

    #[test]
    fn a_stretch_that_is_never_proven_costs_the_link() {
        let mut out = Vec::new();
        let mut leader = leader(&mut out);
        awaiting_stretch(&mut leader, &mut out);
        leader.on_tick(Instant(1_600_000), &mut out);
        assert!(!leader.learners().has(OBSERVER));
    }
}
