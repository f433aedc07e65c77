//! Phase 1 and 2 of an epoch: which number it has, who promised it, and whose history it starts with.

use super::{Leader, LeaderEffect, Stage};
use crate::base::{Instant, LinkId, ServerId, Zxid};
use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};
use crate::zab::learners::{LinkStage, MasterEffect};

/// An acceptedEpoch this far above everybody else's is a mistake or an attack: nobody is elected so often.
const EPOCH_JUMP_MAX: i64 = 1 << 20;

impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn on_info(
        &mut self,
        link: LinkId,
        packet: &Packet,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Result<(), &'static str> {
        let info = LearnerInfo::decode(packet.data.as_deref()).map_err(|malformed| malformed.0)?;
        let info = info.ok_or("it does not say who it is")?;
        if info.config_version > self.view.version {
            return Err("it has a newer list of servers than this leader");
        }
        if info.protocol_version < PROTOCOL_VERSION {
            return Err("it speaks a protocol older than ZooKeeper 3.4");
        }
        let accepted = packet.zxid.epoch();
        let votes = self.view.is_voter(info.server);
        if !votes && accepted >= self.epoch + EPOCH_JUMP_MAX {
            return Err("it claims an epoch far beyond every voter's");
        }
        // A server that comes back faster than its old connection dies has but one.
        self.learners.replace(link, info.server, out);
        let state = self.learners.get_mut(link).expect("its packet was just read");
        state.server = info.server;
        state.votes = votes;
        state.observes = packet.kind == PacketKind::ObserverInfo;
        state.stage = LinkStage::Waiting;
        if self.has_decided() {
            self.learners.inform(link, self.epoch, out);
        } else if self.stage == Stage::Gathering {
            self.epoch = self.epoch.max(accepted + 1);
            if votes {
                self.joined.insert(info.server);
            }
            self.gather(now, out);
        }
        Ok(())
    }

    /// With a quorum of voters that want in, the epoch's number is fixed.
    pub(super) fn gather(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage == Stage::Gathering && self.has_quorum(&self.joined) {
            self.enter(Stage::Promising, now);
            out.push(LeaderEffect::Promise { epoch: self.epoch });
        }
    }

    /// A voter looks for a leader. One that had voted for us has changed its mind, or could not reach us: if nobody else has
    /// come for so long either, it is better to vote again than to wait for initLimit (ZK: Leader.reportLookingSid).
    pub fn on_voter_looks(&mut self, voter: ServerId, now: Instant, out: &mut Vec<LeaderEffect>) {
        let waited_ms = now.millis_since(self.stage_since);
        if self.stage == Stage::Gathering
            && self.epoch_wait_ms_max.is_some_and(|max| waited_ms > max)
            && self.electors.contains(&voter)
        {
            out.push(LeaderEffect::Disloyal);
            self.abdicate(format!("server {voter}, which had voted for this one, looks for a leader again"), out);
        }
    }

    /// Our own acceptedEpoch is durable: the others may be asked for their promise.
    pub fn on_promised(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage != Stage::Promising {
            return;
        }
        self.enter(Stage::Acking, now);
        self.promised.insert(self.me);
        for link in self.learners.at(LinkStage::Waiting) {
            self.learners.inform(link, self.epoch, out);
        }
        self.count_promises(now, out);
    }

    pub(super) fn on_ack_epoch(
        &mut self,
        link: LinkId,
        packet: &Packet,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Result<(), &'static str> {
        let data = packet.data.as_deref().unwrap_or_default();
        let epoch = AckEpoch::decode(data).map_err(|malformed| malformed.0)?.current_epoch;
        let state = self.learners.get_mut(link).expect("its packet was just read");
        state.peer = packet.zxid;
        state.stage = LinkStage::Promised;
        // -1: it had promised this epoch before, so it is not counted again; a zxid of -1 is no history to count on.
        if epoch != AckEpoch::PROMISED_BEFORE {
            if (i64::from(epoch), packet.zxid) > self.summary && self.stage < Stage::Established {
                return Err("its history is newer than this leader's");
            }
            if packet.zxid.0 != -1 && state.votes {
                let server = state.server;
                self.promised.insert(server);
            }
        }
        match self.stage {
            Stage::Acking => self.count_promises(now, out),
            Stage::Synchronizing | Stage::Established => self.synchronize(link, out),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn count_promises(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage == Stage::Acking && self.has_quorum(&self.promised) {
            self.enter(Stage::Adopting, now);
            out.push(LeaderEffect::Adopt { epoch: self.epoch });
        }
    }

    /// Our own currentEpoch is durable: our history is the epoch's, and learners are brought to it.
    pub fn on_adopted(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage != Stage::Adopting {
            return;
        }
        self.enter(Stage::Synchronizing, now);
        for link in self.learners.at(LinkStage::Promised) {
            self.synchronize(link, out);
        }
        self.on_new_leader_ack(now, out); // Alone it may be a quorum.
    }

    fn synchronize(&mut self, link: LinkId, out: &mut Vec<LeaderEffect>) {
        let Some(state) = self.learners.get_mut(link) else { return };
        out.push(MasterEffect::Sync { link, server: state.server, peer: state.peer }.into());
    }

    /// A learner has our history. With a quorum of voters that do, the epoch is established.
    pub(super) fn on_new_leader_ack(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage == Stage::Synchronizing && self.hears_quorum() {
            self.enter(Stage::Established, now);
            self.next_check = now.plus_ms(self.learners.timing().tick_ms);
            self.last_proposed = self.epoch_zxid();
            self.last_committed = self.last_proposed;
            out.push(LeaderEffect::Established { epoch: self.epoch });
        }
        if self.stage == Stage::Established {
            for link in self.learners.at(LinkStage::Acked) {
                self.learners.say_up_to_date(link, out);
            }
        }
    }

    /// Where our epoch begins.
    pub(super) fn epoch_zxid(&self) -> Zxid {
        Zxid::begin_of(self.epoch)
    }
}
