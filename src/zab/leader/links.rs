//! The leader's side of one learner's connection: bytes become packets, silence ends it.

use bytes::Bytes;

use super::backlog::Backlog;
use super::{Leader, LeaderEffect, Stage};
use crate::base::{Instant, LinkId, ServerId, Zxid};
use crate::codec::peer::{Forwarded, Packet, PacketKind, Revalidate, Revalidated, cut, decode_touches};

/// How far a learner is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum LinkStage {
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

/// Why a learner is dropped that is too slow for its snapshot.
const OVERFLOWS: &str = "more was written than may wait behind its snapshot";

#[derive(Debug)]
pub(super) struct Link {
    pub server: ServerId,
    /// A voter of the view; others are observers to every count.
    pub votes: bool,
    /// Came with OBSERVERINFO: gets INFORM instead of PROPOSAL and COMMIT.
    pub observes: bool,
    pub stage: LinkStage,
    pub heard: Instant,
    /// Its last transaction, as ACKEPOCH said.
    pub peer: Zxid,
    /// A snapshot that is not sent yet, and the packets that wait behind it.
    pub held: Option<Backlog>,
    /// Commits above this are its business.
    pub after: Zxid,
    pub acked: Zxid,
    /// A proposal it had not acknowledged when it was looked at last, and when that was.
    owes: Option<(Zxid, Instant)>,
    input: Vec<u8>,
}

impl Link {
    /// Whether it is sent the live stream: its synchronization has at least been decided.
    pub fn is_fed(&self) -> bool {
        self.stage >= LinkStage::Syncing
    }

    /// Behind everything queued so far. Returns whether there is room for it.
    fn queue(&mut self, link: LinkId, bytes: Bytes, out: &mut Vec<LeaderEffect>) -> bool {
        match &mut self.held {
            Some(held) => held.push(bytes),
            None => {
                out.push(LeaderEffect::Send { link, bytes });
                true
            }
        }
    }
}

impl Leader {
    /// A learner connected.
    pub fn on_link(&mut self, link: LinkId, now: Instant) {
        let fresh = Link {
            server: ServerId(-1),
            votes: false,
            observes: false,
            stage: LinkStage::Greeting,
            heard: now,
            peer: Zxid::ZERO,
            held: None,
            after: Zxid::ZERO,
            acked: Zxid::ZERO,
            owes: None,
            input: Vec::new(),
        };
        self.links.insert(link, fresh);
    }

    pub fn has_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// The connection ended on the learner's side.
    pub fn on_link_gone(&mut self, link: LinkId) {
        if let Some(gone) = self.links.remove(&link) {
            if gone.stage >= LinkStage::Waiting {
                tracing::info!(server = %gone.server, "learner gone");
            }
            self.syncs.retain(|(_, to)| *to != link);
        }
    }

    pub(super) fn drop_link(&mut self, link: LinkId, why: &str, out: &mut Vec<LeaderEffect>) {
        if let Some(dropped) = self.links.get(&link) {
            tracing::warn!(server = %dropped.server, why, "learner dropped");
            out.push(LeaderEffect::Close { link });
            self.on_link_gone(link);
        }
    }

    /// Bytes of a learner. Whatever is wrong with them costs its own link only.
    ///
    /// What it acknowledges counts with [`Leader::commit`], to be called once everything else it said is carried out: a
    /// sync that came in the same piece would otherwise find nothing to wait for, and be answered in front of the commit.
    pub fn on_bytes(&mut self, link: LinkId, bytes: &[u8], now: Instant, out: &mut Vec<LeaderEffect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.heard = now;
        let mut input = std::mem::take(&mut state.input);
        input.extend_from_slice(bytes);
        let mut used = 0;
        let fault = loop {
            match cut(&input[used..], self.field_bytes_max) {
                Ok(Some((packet, length))) => {
                    used += length;
                    if let Err(fault) = self.on_packet(link, packet, now, out) {
                        break Some(fault);
                    }
                    if !self.links.contains_key(&link) {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(malformed) => break Some(malformed.0),
            }
        };
        match fault {
            Some(fault) => self.drop_link(link, fault, out),
            None => {
                if let Some(state) = self.links.get_mut(&link) {
                    input.drain(..used);
                    state.input = input;
                }
            }
        }
    }

    fn on_packet(
        &mut self,
        link: LinkId,
        packet: Packet,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Result<(), &'static str> {
        let epoch_zxid = self.epoch_zxid();
        let state = self.links.get_mut(&link).expect("its packet was just read");
        let data = packet.data.as_deref().unwrap_or_default();
        match (packet.kind, state.stage) {
            (PacketKind::FollowerInfo | PacketKind::ObserverInfo, LinkStage::Greeting) => {
                self.on_info(link, &packet, now, out)
            }
            (_, LinkStage::Greeting) => Err("its first packet is no FOLLOWERINFO or OBSERVERINFO"),
            (PacketKind::AckEpoch, LinkStage::Informed) => self.on_ack_epoch(link, &packet, now, out),
            (_, LinkStage::Waiting | LinkStage::Informed | LinkStage::Promised) => Err("it spoke before its turn"),
            (PacketKind::Ack, LinkStage::Syncing) if packet.zxid == epoch_zxid => {
                state.stage = LinkStage::Acked;
                self.on_new_leader_ack(now, out);
                Ok(())
            }
            (PacketKind::Ack, _) => {
                // Of a proposal (some versions of the reference send these before NEWLEADER's), or of UPTODATE.
                state.acked = state.acked.max(packet.zxid);
                if packet.zxid > self.last_proposed {
                    return Err("it acknowledges what was never proposed");
                }
                Ok(())
            }
            (PacketKind::Ping, _) => {
                let sessions = decode_touches(data).map_err(|malformed| malformed.0)?;
                if !sessions.is_empty() {
                    out.push(LeaderEffect::Heard { sessions });
                }
                Ok(())
            }
            (PacketKind::Revalidate, _) => {
                let Revalidate { session, timeout_ms } = Revalidate::decode(data).map_err(|malformed| malformed.0)?;
                out.push(LeaderEffect::Revalidate { link, session, timeout_ms });
                Ok(())
            }
            (PacketKind::Request, _) => {
                let data = packet.data.ok_or("a request without data")?;
                let request = Forwarded::decode(&data).map_err(|malformed| malformed.0)?;
                out.push(LeaderEffect::Request { link, request, ids: packet.auth.unwrap_or_default() });
                Ok(())
            }
            _ => Ok(()), // The reference logs and ignores what it does not know, and so do we.
        }
    }

    /// Answers a learner's question about a session.
    pub fn revalidated(&mut self, link: LinkId, answer: &Revalidated, out: &mut Vec<LeaderEffect>) {
        self.send(link, &Packet::with(PacketKind::Revalidate, Zxid(-1), answer.encode()), out);
    }

    /// A learner's `sync`: answered when everything proposed so far is committed.
    pub fn sync(&mut self, link: LinkId, out: &mut Vec<LeaderEffect>) {
        if self.outstanding.is_empty() {
            self.send(link, &Packet::bare(PacketKind::Sync, Zxid::ZERO), out);
        } else {
            self.syncs.push_back((self.last_proposed, link));
        }
    }

    pub(super) fn send(&mut self, link: LinkId, packet: &Packet, out: &mut Vec<LeaderEffect>) {
        self.feed(link, packet.to_bytes(), out);
    }

    /// Queues whole packets for a learner, behind everything queued so far.
    pub fn feed(&mut self, link: LinkId, bytes: Bytes, out: &mut Vec<LeaderEffect>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if !state.queue(link, bytes, out) {
            self.drop_link(link, OVERFLOWS, out);
        }
    }

    /// As [`Leader::feed`], for every learner that gets the live stream: what `packet` says is its part of it.
    pub(super) fn feed_all(&mut self, out: &mut Vec<LeaderEffect>, mut packet: impl FnMut(&Link) -> Option<Bytes>) {
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

    pub(super) fn ping(&mut self, out: &mut Vec<LeaderEffect>) {
        let bytes = Packet::bare(PacketKind::Ping, self.last_proposed).to_bytes();
        for (link, state) in &self.links {
            if state.stage >= LinkStage::Acked && state.held.is_none() {
                out.push(LeaderEffect::Send { link: *link, bytes: bytes.clone() });
            }
        }
    }

    /// A learner that says nothing, or does not acknowledge, holds up nobody for longer than this.
    pub(super) fn drop_silent(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        let mut silent = Vec::new();
        for (link, state) in &mut self.links {
            let allowed_ms = match state.stage {
                LinkStage::Acked | LinkStage::Live => self.timing.sync_ms,
                _ => self.timing.init_ms + self.timing.sync_ms,
            };
            if now.millis_since(state.heard) > allowed_ms {
                silent.push((*link, "nothing was heard of it for syncLimit"));
                continue;
            }
            if state.stage == LinkStage::Live && state.votes && !state.observes {
                let owes = self.outstanding.iter().map(|proposal| proposal.zxid).find(|zxid| *zxid > state.acked);
                state.owes = match (state.owes, owes) {
                    (Some((zxid, since)), Some(_)) if zxid > state.acked => {
                        if now.millis_since(since) > self.timing.sync_ms {
                            silent.push((*link, "it acknowledged nothing for syncLimit"));
                        }
                        Some((zxid, since))
                    }
                    (_, owes) => owes.map(|zxid| (zxid, now)),
                };
            }
        }
        for (link, why) in silent {
            self.drop_link(link, why, out);
        }
    }

    pub(super) fn has_decided(&self) -> bool {
        self.stage > Stage::Promising
    }
}
