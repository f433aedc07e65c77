//! Phase 3: proposals go out, acknowledgements come in, commits follow in order.

use bytes::Bytes;

use super::{Leader, LeaderEffect, Outstanding};
use crate::base::{LinkId, Zxid};
use crate::codec::peer::{Packet, PacketKind};
use crate::zab::learners::LinkStage;

impl Leader {
    /// Sends `record` to all who follow. It must be the next zxid of the epoch, and is logged here by the owner, who
    /// says so with [`Leader::on_own_durable`].
    pub fn propose(&mut self, zxid: Zxid, record: Bytes, out: &mut Vec<LeaderEffect>) {
        assert!(self.is_established(), "nothing is proposed before the epoch is established");
        assert!(self.last_proposed.is_right_before(zxid), "{zxid} does not follow {}", self.last_proposed);
        self.last_proposed = zxid;
        let proposal = Packet::with(PacketKind::Proposal, zxid, record.clone());
        let packet = self.packets.bytes(|out| proposal.encode(out));
        self.learners.feed_all(out, |link| (!link.observes).then(|| packet.clone()));
        self.outstanding.push_back(Outstanding { zxid, record });
    }

    /// Everything up to here is on our own disk: that is our acknowledgement.
    pub fn on_own_durable(&mut self, through: Zxid, out: &mut Vec<LeaderEffect>) {
        self.own_durable = self.own_durable.max(through);
        self.commit(out);
        self.ask_if_waiting(out);
    }

    /// A learner was fed all commits up to and with `committed` and all proposals up to `proposed`; from here on it
    /// gets everything: first the outstanding proposals above that, then NEWLEADER with our list of servers.
    pub fn follow(&mut self, link: LinkId, committed: Zxid, proposed: Zxid, config: &str, out: &mut Vec<LeaderEffect>) {
        let Some(state) = self.learners.get_mut(link) else { return };
        state.after = committed;
        state.stage = LinkStage::Syncing;
        if !state.observes {
            let missing: Vec<Bytes> = self
                .outstanding
                .iter()
                .filter(|proposal| proposal.zxid > proposed)
                .map(|proposal| Packet::with(PacketKind::Proposal, proposal.zxid, proposal.record.clone()).to_bytes())
                .collect();
            for packet in missing {
                self.learners.feed(link, packet, out);
            }
        }
        let config = Bytes::copy_from_slice(config.as_bytes());
        let epoch = self.epoch_zxid();
        self.learners.send(link, &Packet::with(PacketKind::NewLeader, epoch, config), out);
    }

    /// Commits what has a quorum, oldest first, and answers the syncs in between.
    pub fn commit(&mut self, out: &mut Vec<LeaderEffect>) {
        if !self.is_established() {
            return;
        }
        self.answer_syncs(out);
        let point = if self.outstanding.is_empty() { Zxid::ZERO } else { self.quorum_point() };
        let mut moved = false;
        while self.outstanding.front().is_some_and(|next| next.zxid <= point && !self.syncs.hold_up(next.zxid)) {
            let proposal = self.outstanding.pop_front().expect("seen above");
            self.last_committed = proposal.zxid;
            self.announce(&proposal, out);
            // Between this commit and the next: a sync's answer keeps its place among those of its client's writes.
            self.answer_syncs(out);
            out.push(LeaderEffect::Commit { zxid: proposal.zxid, record: proposal.record });
            moved = true;
        }
        if moved {
            self.learners.start_streams(self.last_committed, out);
        }
    }

    /// The highest zxid that a quorum has on disk. An acknowledgement covers everything before it: links keep their
    /// order, and a learner acknowledges only behind its disk.
    fn quorum_point(&self) -> Zxid {
        if let Some(through) = self.oracle.grants_through() {
            return through;
        }
        let followers = self.learners.iter().filter(|(_, link)| link.votes && link.stage >= LinkStage::Acked);
        let mut acks: Vec<(Zxid, _)> = followers.map(|(_, link)| (link.acked, link.server)).collect();
        acks.push((self.own_durable, self.me));
        acks.sort_unstable();
        // Those from a place on have at least its zxid: the last place whose servers are a quorum has the highest.
        let decides =
            |from: &usize| self.view.has_quorum_of(|id| acks[*from..].iter().any(|(_, server)| *server == id));
        (0..acks.len()).rev().find(decides).map_or(Zxid::ZERO, |from| acks[from].0)
    }

    fn announce(&mut self, proposal: &Outstanding, out: &mut Vec<LeaderEffect>) {
        let zxid = proposal.zxid;
        let mut commit = None;
        let mut inform = None;
        let packets = &mut self.packets;
        self.learners.feed_all(out, |link| {
            let packet = match link.observes {
                _ if zxid <= link.after => return None,
                true => inform.get_or_insert_with(|| {
                    let packet = Packet::with(PacketKind::Inform, zxid, proposal.record.clone());
                    packets.bytes(|out| packet.encode(out))
                }),
                false => commit
                    .get_or_insert_with(|| packets.bytes(|out| Packet::bare(PacketKind::Commit, zxid).encode(out))),
            };
            Some(packet.clone())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::base::{Instant, ServerId};
    use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION};
    use crate::codec::peer_stream::cut;
    use crate::zab::leader_tests::{elected, limits};
    use crate::zab::{MasterEffect, Member, Timing, View};

    const LINK: LinkId = LinkId(1);
    const EPOCH: i64 = 1 << 32;

    /// Server 1 of three, leading epoch 1 with server 2 behind `LINK`.
    fn established() -> Leader {
        let (now, mut out) = (Instant(0), Vec::new());
        let member = |id| Member { id, addresses: Vec::new(), observer: false, client: None };
        let members = (1..=3).map(|id| (ServerId(id), member(ServerId(id)))).collect();
        let view = View { members, groups: BTreeMap::new(), weights: BTreeMap::new(), version: 0 };
        let timing = Timing { tick_ms: 1000, init_ms: 1000, sync_ms: 1000, ping_ms: 100 };
        let mut leader = Leader::new(elected(1, &[2]), Arc::new(view), limits(timing), now, &mut out);
        let info = LearnerInfo { server: ServerId(2), protocol_version: PROTOCOL_VERSION, config_version: 0 };
        leader.on_link(LINK, now);
        say(&mut leader, &Packet::with(PacketKind::FollowerInfo, Zxid::ZERO, info.encode()));
        leader.on_promised(now, &mut out);
        let promise = AckEpoch { current_epoch: 0 };
        say(&mut leader, &Packet::with(PacketKind::AckEpoch, Zxid::ZERO, promise.encode()));
        leader.on_adopted(now, &mut out);
        leader.follow(LINK, Zxid::ZERO, Zxid::ZERO, "", &mut out);
        say(&mut leader, &Packet::bare(PacketKind::Ack, Zxid(EPOCH)));
        assert!(leader.is_established());
        leader
    }

    /// The kinds and zxids of what the learner is sent when the leader hears `packet`.
    fn say(leader: &mut Leader, packet: &Packet) -> Vec<(PacketKind, i64)> {
        let mut out = Vec::new();
        leader.on_bytes(LINK, &packet.to_bytes(), Instant(0), &mut out);
        leader.commit(&mut out);
        let sent = out.into_iter().filter_map(|effect| match effect {
            LeaderEffect::Learner(MasterEffect::Send { bytes, .. }) => cut(&bytes, 1 << 20).ok().flatten(),
            _ => None,
        });
        sent.map(|(packet, _)| (packet.kind, packet.zxid.0)).collect()
    }

    /// One acknowledgement may commit much at once; a client that wrote, synced and wrote is answered in that order.
    #[test]
    fn a_sync_is_answered_between_the_commits_around_it() {
        let mut leader = established();
        let mut out = Vec::new();
        leader.propose(Zxid(EPOCH + 1), Bytes::from_static(b"one"), &mut out);
        leader.sync(LINK, &mut out);
        leader.propose(Zxid(EPOCH + 2), Bytes::from_static(b"two"), &mut out);
        leader.on_own_durable(Zxid(EPOCH + 2), &mut out);
        let sent = say(&mut leader, &Packet::bare(PacketKind::Ack, Zxid(EPOCH + 2)));
        let due = [(PacketKind::Commit, EPOCH + 1), (PacketKind::Sync, 0), (PacketKind::Commit, EPOCH + 2)];
        assert_eq!(sent, due);
    }
}
