//! The observer master: a follower that feeds observers in the leader's place, so that the leader need not feed them all.
//!
//! It has nothing to decide: the epoch is the one it follows in, and what it passes on is committed. An observer greets,
//! is told the epoch, is brought up to date from this follower's history, and gets INFORMs from there on. What may wait
//! for one that is being brought up to date is bounded (`observerMaster.sizeLimit`); it comes again if that is not enough.
//!
//! ```text
//!   leader --PROPOSAL, COMMIT--> follower --INFORM--> observers
//!          <--REQUEST, REVALIDATE, pings' sessions--
//! ```
//!
//! An observer may have come from another follower that is a little ahead of this one. The reference cuts its history
//! back; here it waits until this follower is as far, because its clients have seen what would be cut.
//!
//! Source: ZK: ObserverMaster (spec: quorum 13).

use std::sync::Arc;

use bytes::Bytes;

use super::learners::{LearnerLimits, Learners, LinkStage, MasterEffect};
use super::view::View;
use crate::base::{Instant, LinkId, Zxid};
use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};

/// While one leader is followed. Lives on: the replication core.
#[derive(Debug)]
pub struct ObserverMaster {
    view: Arc<View>,
    epoch: i64,
    learners: Learners,
    last_committed: Zxid,
    next_ping: Instant,
}

impl ObserverMaster {
    /// A follower in `epoch` that is up to date. `last_committed`: what it has told its own clients.
    pub fn new(
        view: Arc<View>,
        limits: LearnerLimits,
        epoch: i64,
        last_committed: Zxid,
        now: Instant,
    ) -> ObserverMaster {
        ObserverMaster { view, epoch, learners: Learners::new(limits), last_committed, next_ping: now }
    }

    pub fn learners(&self) -> &Learners {
        &self.learners
    }

    pub fn learners_mut(&mut self) -> &mut Learners {
        &mut self.learners
    }

    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// An observer connected.
    pub fn on_link(&mut self, link: LinkId, now: Instant) {
        self.learners.add(link, now);
    }

    /// Bytes of an observer. Whatever is wrong with them costs its own link only.
    pub fn on_bytes(&mut self, link: LinkId, bytes: &[u8], now: Instant, out: &mut Vec<MasterEffect>) {
        self.learners.receive(link, bytes, now);
        while let Some(packet) = self.learners.next_packet(link, out) {
            if let Err(fault) = self.on_packet(link, packet, out) {
                self.learners.drop_link(link, fault, out);
            }
        }
    }

    fn on_packet(&mut self, link: LinkId, packet: Packet, out: &mut Vec<MasterEffect>) -> Result<(), &'static str> {
        let begin = Zxid::begin_of(self.epoch);
        let Some(state) = self.learners.get_mut(link) else { return Ok(()) };
        match (packet.kind, state.stage) {
            (PacketKind::ObserverInfo, LinkStage::Greeting) => self.on_info(link, &packet, out),
            (_, LinkStage::Greeting) => Err("its first packet is no OBSERVERINFO"),
            (PacketKind::AckEpoch, LinkStage::Informed) => {
                AckEpoch::decode(packet.data.as_deref().unwrap_or_default()).map_err(|malformed| malformed.0)?;
                state.peer = packet.zxid;
                state.stage = LinkStage::Promised;
                self.synchronize(link, out);
                Ok(())
            }
            (_, LinkStage::Waiting | LinkStage::Informed | LinkStage::Promised) => Err("it spoke before its turn"),
            (PacketKind::Ack, LinkStage::Syncing) if packet.zxid == begin => {
                // A quorum follows the leader that this server follows: there is nothing to wait for.
                state.stage = LinkStage::Acked;
                self.learners.say_up_to_date(link, out);
                Ok(())
            }
            (PacketKind::Ack, _) if packet.zxid.counter() == 0 => Ok(()), // Of UPTODATE.
            (PacketKind::Ack, _) => Err("an observer acknowledges a proposal"),
            _ => self.learners.on_packet(link, packet, out),
        }
    }

    fn on_info(&mut self, link: LinkId, packet: &Packet, out: &mut Vec<MasterEffect>) -> Result<(), &'static str> {
        let info = LearnerInfo::decode(packet.data.as_deref()).map_err(|malformed| malformed.0)?;
        let info = info.ok_or("it does not say who it is")?;
        if info.config_version > self.view.version {
            return Err("it has a newer list of servers than this server");
        }
        if info.protocol_version < PROTOCOL_VERSION {
            return Err("it speaks a protocol older than ZooKeeper 3.4");
        }
        self.learners.replace(link, info.server, out);
        if let Some(state) = self.learners.get_mut(link) {
            state.server = info.server;
            state.observes = true;
        }
        self.learners.inform(link, self.epoch, out);
        Ok(())
    }

    /// As soon as this server is as far as the observer.
    fn synchronize(&mut self, link: LinkId, out: &mut Vec<MasterEffect>) {
        let Some(state) = self.learners.get_mut(link) else { return };
        let is_ahead = state.peer > self.last_committed && state.peer.epoch() == self.epoch;
        if !is_ahead {
            out.push(MasterEffect::Sync { link, server: state.server, peer: state.peer });
        }
    }

    /// An observer was fed all commits up to and with `committed`; from here on it gets every INFORM above that: first
    /// NEWLEADER with our list of servers.
    pub fn follow(&mut self, link: LinkId, committed: Zxid, config: &str, out: &mut Vec<MasterEffect>) {
        let Some(state) = self.learners.get_mut(link) else { return };
        state.after = committed;
        state.stage = LinkStage::Syncing;
        let config = Bytes::copy_from_slice(config.as_bytes());
        self.learners.send(link, &Packet::with(PacketKind::NewLeader, Zxid::begin_of(self.epoch), config), out);
    }

    /// The leader committed one more.
    pub fn on_commit(&mut self, zxid: Zxid, record: &Bytes, out: &mut Vec<MasterEffect>) {
        self.last_committed = zxid;
        let mut inform: Option<Bytes> = None;
        self.learners.feed_all(out, |link| {
            let packet = || Packet::with(PacketKind::Inform, zxid, record.clone()).to_bytes();
            (zxid > link.after).then(|| inform.get_or_insert_with(packet).clone())
        });
        self.learners.start_streams(zxid, out);
        for link in self.learners.at(LinkStage::Promised) {
            self.synchronize(link, out);
        }
    }

    /// A `sync` of this observer is answered: everything committed before it has been queued.
    pub fn synced(&mut self, link: LinkId, out: &mut Vec<MasterEffect>) {
        self.learners.send(link, &Packet::bare(PacketKind::Sync, Zxid::ZERO), out);
    }

    /// Time passes: observers are spoken to, and silent ones dropped.
    pub fn on_tick(&mut self, now: Instant, out: &mut Vec<MasterEffect>) {
        self.learners.drop_silent(now, out);
        if now >= self.next_ping {
            // Counted from when it was due, so that late ticks do not add up.
            self.next_ping = self.next_ping.plus_ms(self.learners.timing().ping_ms).max(now);
            self.learners.ping(self.last_committed, out);
        }
    }
}
