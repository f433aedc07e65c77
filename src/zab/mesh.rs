//! The connections between election ports: one per pair of members, whoever dialled first.
//!
//! The rule both sides follow without asking: **the connection opened by the larger id survives**. Who dials a larger
//! member only says who it is (the preamble), hangs up, and is dialled back. Nothing answers a preamble.
//!
//! ```text
//!   me > peer   dial -> preamble -> keep                 accepted -> preamble -> hang up, dial back
//!   me < peer   dial -> preamble -> hang up, be dialled  accepted -> preamble -> keep, drop an older one
//! ```
//!
//! A smaller member that redials breaks a healthy link on Apache's side, so a connected peer is never dialled, and
//! after a larger one has closed we leave it a moment to come back by itself; until then a dial is only a probe that
//! tells whether anybody is there.
//!
//! For each peer only the newest message is kept: it waits for the connection, and is said again on the next one,
//! because nobody knows what the old one still carried. Receivers know repetition.
//!
//! Whatever a link says is judged for that link alone; what it gets wrong closes it and nothing else.
//! ZK: QuorumCnxManager.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::mesh_peer::{Link, Peer};
use super::view::View;
use crate::base::{Instant, LinkId, PeerAddress, ServerId};
use crate::codec::vote::{self, Notification, Preamble, PreambleVersion};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeshSettings {
    /// How long a dial may take (`zookeeper.cnxTimeout`).
    pub connect_timeout_ms: u64,
    /// How long an accepted link may be silent about who it is (tickTime * syncLimit, or
    /// `zookeeper.quorumCnxnTimeoutMs`).
    pub identify_timeout_ms: u64,
    /// `multiAddress.enabled`: all own addresses in the preamble. Servers before 3.6 do not understand that form.
    pub multi_address: bool,
}

/// To be carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeshEffect {
    /// Answered by [`Mesh::on_connected`] or [`Mesh::on_closed`].
    Dial {
        link: LinkId,
        to: Vec<PeerAddress>,
        timeout_ms: u64,
    },
    Send {
        link: LinkId,
        bytes: Bytes,
    },
    /// Send what is queued, then close. No news of it follows.
    Close {
        link: LinkId,
    },
    /// For `Election::on_notification`. Ids below 0 are given to observers that have none.
    Notification {
        from: ServerId,
        notification: Notification,
    },
    /// For `Election::on_reach`: all voters that cannot be reached. Only while LOOKING.
    Gone {
        voters: BTreeSet<ServerId>,
    },
}

/// What an observer without an id calls itself (ZK: QuorumPeer.OBSERVER_ID).
const OBSERVER_ID: ServerId = ServerId(i64::MAX);

/// Accepted links that have not said who they are. One more closes the oldest: a member says it at once.
const UNIDENTIFIED_MAX: usize = 32;

/// Peers that are not in the view: observers without an id, members of another configuration.
const STRANGERS_MAX: usize = 64;

/// How long a larger peer may take to dial back before it is asked again.
const DIAL_BACK_MS: u64 = 1_000;

/// How long a larger peer that closed may take to come back by itself; and how young a link is not broken for a
/// dial that crossed it on the way.
pub(super) const CROSSING_MS: u64 = 250;

const REDIAL_MIN_MS: u64 = 50;
const REDIAL_MAX_MS: u64 = 1_000;

/// Numbers for the links this server dials: even, never the same twice, and one counter for both ports. Accepted
/// links are numbered by the driver, with odd numbers.
#[derive(Debug, Default)]
pub struct LinkIds {
    last: u64,
}

impl LinkIds {
    #[allow(clippy::should_implement_trait, reason = "it has no end and is no iterator")]
    pub fn next(&mut self) -> LinkId {
        self.last += 2;
        LinkId(self.last)
    }
}

/// Lives on: the replication core.
#[derive(Debug)]
pub struct Mesh {
    me: ServerId,
    view: Arc<View>,
    settings: MeshSettings,
    looking: bool,
    peers: BTreeMap<ServerId, Peer>,
    links: BTreeMap<LinkId, Link>,
    /// The id of the last observer without one.
    anonymous: i64,
    /// As last told.
    gone: BTreeSet<ServerId>,
}

impl Mesh {
    pub fn new(me: ServerId, view: Arc<View>, settings: MeshSettings) -> Mesh {
        let peers = view.members.keys().filter(|id| **id != me).map(|id| (*id, Peer::default())).collect();
        Mesh { me, view, settings, looking: false, peers, links: BTreeMap::new(), anonymous: 0, gone: BTreeSet::new() }
    }

    /// Peers with a connection that says who they are.
    pub fn connected(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.link.is_some()).map(|(id, _)| *id)
    }

    /// An election begins or ends; to be called before `Election::look`, and when it has decided. During one, every
    /// voter is dialled until it is there; otherwise only who must be told something.
    pub fn set_looking(&mut self, looking: bool) {
        self.looking = looking;
        self.gone.clear();
        for peer in self.peers.values_mut() {
            peer.forget_failures();
        }
    }

    /// Says something to a peer, on the connection there is or the next one. Replaces what still waits.
    pub fn send(&mut self, to: ServerId, bytes: Bytes, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.newest = Some(bytes.clone());
        peer.waiting = peer.link.is_none();
        match peer.link {
            Some(link) => out.push(MeshEffect::Send { link, bytes }),
            None => self.maybe_dial(to, now, ids, out),
        }
    }

    /// Dials every voter that is not connected, without regard to when it was last tried.
    pub fn connect_all(&mut self, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let voters: Vec<ServerId> = self.view.voters().collect();
        for voter in voters {
            if let Some(peer) = self.peers.get_mut(&voter) {
                peer.redial_at = None;
                self.maybe_dial(voter, now, ids, out);
            }
        }
    }

    /// Somebody, whose address is for the log, connected to the election port.
    pub fn on_accepted(&mut self, link: LinkId, from: SocketAddr, now: Instant, out: &mut Vec<MeshEffect>) {
        tracing::debug!(link = link.0, %from, "election connection accepted");
        let unidentified = |state: &Link| matches!(state, Link::Unidentified { .. });
        if self.links.values().filter(|state| unidentified(state)).count() >= UNIDENTIFIED_MAX {
            // Numbers of accepted links grow: the first is the oldest.
            let oldest = self.links.iter().find(|(_, state)| unidentified(state)).map(|(link, _)| *link);
            oldest.into_iter().for_each(|oldest| self.close(oldest, out));
        }
        let until = now.plus_ms(self.settings.identify_timeout_ms);
        self.links.insert(link, Link::Unidentified { until, bytes: Vec::new() });
    }

    /// A dial came through.
    pub fn on_connected(&mut self, link: LinkId, now: Instant, out: &mut Vec<MeshEffect>) {
        let Some(Link::Dialling { to }) = self.links.get(&link) else { return };
        let to = *to;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.dialling = None;
        peer.forget_failures();
        let coming_back_until = peer.lost_at.map(|at| at.plus_ms(CROSSING_MS)).filter(|until| now < *until);
        if peer.link.is_some() {
            self.close(link, out);
        } else if let Some(until) = coming_back_until.filter(|_| to > self.me) {
            peer.redial_at = Some(until);
            self.close(link, out);
        } else {
            let bytes = self.preamble().encode();
            out.push(MeshEffect::Send { link, bytes });
            if to > self.me {
                self.close(link, out);
                self.peers.get_mut(&to).expect("just found").dial_back_until = Some(now.plus_ms(DIAL_BACK_MS));
            } else {
                self.adopt(to, link, now, out);
            }
        }
        self.tell_gone(out);
    }

    fn preamble(&self) -> Preamble {
        let mut addresses = match self.view.members.get(&self.me) {
            Some(member) => member.election_addresses(),
            None => Vec::new(),
        };
        let version = if self.settings.multi_address { PreambleVersion::V2 } else { PreambleVersion::V1 };
        if version == PreambleVersion::V1 {
            addresses.truncate(1);
        }
        Preamble { version, server: self.me, addresses }
    }

    /// This link is the connection to `of` from now on. What it was last told is told again.
    fn adopt(&mut self, of: ServerId, link: LinkId, now: Instant, out: &mut Vec<MeshEffect>) {
        self.links.insert(link, Link::Of { peer: of, bytes: Vec::new() });
        let Some(peer) = self.peers.get_mut(&of) else { return };
        let older = peer.adopt(link, now);
        if let Some(bytes) = peer.newest.clone() {
            out.push(MeshEffect::Send { link, bytes });
        }
        older.into_iter().for_each(|older| self.close(older, out));
    }

    fn close(&mut self, link: LinkId, out: &mut Vec<MeshEffect>) {
        self.links.remove(&link);
        out.push(MeshEffect::Close { link });
    }

    pub fn on_bytes(&mut self, link: LinkId, bytes: &[u8], now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        match self.links.get_mut(&link) {
            Some(Link::Unidentified { bytes: before, .. }) => {
                before.extend_from_slice(bytes);
                match Preamble::cut(before) {
                    Ok(None) => {}
                    Ok(Some((preamble, taken))) => {
                        let rest = before.split_off(taken);
                        self.on_preamble(link, preamble, now, ids, out);
                        if !rest.is_empty() {
                            self.on_bytes(link, &rest, now, ids, out);
                        }
                    }
                    Err(fault) => {
                        tracing::warn!(link = link.0, %fault, "an election connection that does not say who it is");
                        self.close(link, out);
                    }
                }
            }
            Some(Link::Of { bytes: before, .. }) => {
                before.extend_from_slice(bytes);
                self.take_notifications(link, now, ids, out);
            }
            Some(Link::Dialling { .. }) | None => {}
        }
    }

    fn take_notifications(&mut self, link: LinkId, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let Some(Link::Of { peer, bytes }) = self.links.get_mut(&link) else { return };
        let from = *peer;
        let mut at = 0;
        let fault = loop {
            match vote::cut(&bytes[at..]) {
                Ok(None) => break None,
                Ok(Some((payload, taken))) => {
                    at += taken;
                    match Notification::decode(payload) {
                        Ok(notification) => out.push(MeshEffect::Notification { from, notification }),
                        Err(fault) => tracing::warn!(server = from.0, %fault, "a notification is dropped"),
                    }
                }
                Err(fault) => break Some(fault),
            }
        };
        bytes.drain(..at);
        if let Some(fault) = fault {
            tracing::warn!(server = from.0, %fault, "an election connection is closed");
            out.push(MeshEffect::Close { link });
            self.on_closed(link, now, ids, out);
        }
    }

    /// An accepted link says who it is.
    fn on_preamble(
        &mut self,
        link: LinkId,
        preamble: Preamble,
        now: Instant,
        ids: &mut LinkIds,
        out: &mut Vec<MeshEffect>,
    ) {
        let mut from = preamble.server;
        if from == OBSERVER_ID || from.0 < 0 {
            self.anonymous -= 1;
            from = ServerId(self.anonymous);
        }
        if from == self.me {
            tracing::error!(server = from.0, "somebody connects with this server's own id: check every myid");
            self.close(link, out);
            return;
        }
        if !self.peers.contains_key(&from) && !self.admit_stranger(from) {
            self.close(link, out);
            return;
        }
        let peer = self.peers.get_mut(&from).expect("a member, or just admitted");
        peer.forget_failures();
        if from > self.me {
            self.adopt(from, link, now, out);
        } else {
            let usable = preamble.addresses.into_iter().filter(|address| address.port != 0).collect();
            let (young, older) = peer.challenged(usable, now);
            self.close(link, out);
            if !young {
                older.into_iter().for_each(|older| self.close(older, out));
                self.maybe_dial(from, now, ids, out);
            }
        }
        self.tell_gone(out);
    }

    /// Room for a peer that is not in the view, if need be in place of one that has no connection.
    fn admit_stranger(&mut self, id: ServerId) -> bool {
        let is_stranger = |id: &ServerId| !self.view.members.contains_key(id);
        if self.peers.keys().filter(|id| is_stranger(id)).count() >= STRANGERS_MAX {
            let idle = |(id, peer): &(&ServerId, &Peer)| is_stranger(id) && peer.is_idle();
            let Some(idle) = self.peers.iter().find(idle).map(|(id, _)| *id) else { return false };
            self.peers.remove(&idle);
        }
        self.peers.insert(id, Peer::default());
        true
    }

    /// The peer closed, or the dial failed.
    pub fn on_closed(&mut self, link: LinkId, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let (id, connected) = match self.links.remove(&link) {
            Some(Link::Of { peer, .. }) => (peer, true),
            Some(Link::Dialling { to }) => (to, false),
            Some(Link::Unidentified { .. }) | None => return,
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if connected {
            peer.link = None;
            peer.lost_at = Some(now);
            self.maybe_dial(id, now, ids, out);
        } else {
            peer.dialling = None;
            peer.refused = true;
            peer.redial_at = Some(now.plus_ms(peer.back_off(REDIAL_MIN_MS, REDIAL_MAX_MS)));
            // Outside an election, what cannot be said now is not worth saying later.
            peer.waiting &= self.looking;
            self.tell_gone(out);
        }
        let is_stranger = !self.view.members.contains_key(&id);
        if is_stranger && self.peers.get(&id).is_some_and(|peer| peer.is_idle() && !peer.waiting) {
            self.peers.remove(&id);
        }
    }

    /// Dials if the peer is wanted and nothing is under way already.
    fn maybe_dial(&mut self, to: ServerId, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let wanted = peer.waiting || peer.dial_back.is_some() || (self.looking && self.view.is_voter(to));
        if !wanted || !peer.may_be_dialled(now) {
            return;
        }
        // Who asked to be dialled back said where; if that fails, the view counts again.
        let addresses = match (peer.dial_back.take(), self.view.members.get(&to)) {
            (Some(addresses), _) if !addresses.is_empty() => addresses,
            (_, Some(member)) => member.election_addresses(),
            (_, None) => return,
        };
        let link = ids.next();
        let abandoned = peer.dialling.replace((link, now));
        peer.redial_at = None;
        abandoned.into_iter().for_each(|(abandoned, _)| self.close(abandoned, out));
        self.links.insert(link, Link::Dialling { to });
        out.push(MeshEffect::Dial { link, to: addresses, timeout_ms: self.settings.connect_timeout_ms });
    }

    /// Tells which voters cannot be reached, if that has changed.
    fn tell_gone(&mut self, out: &mut Vec<MeshEffect>) {
        let refuses = |id: &ServerId| self.peers.get(id).is_some_and(|peer| peer.refused && peer.link.is_none());
        let gone: BTreeSet<ServerId> = self.view.voters().filter(refuses).collect();
        if self.looking && gone != self.gone {
            self.gone = gone.clone();
            out.push(MeshEffect::Gone { voters: gone });
        }
    }

    /// When [`Mesh::on_tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let links = self.links.values().filter_map(|link| match link {
            Link::Unidentified { until, .. } => Some(*until),
            Link::Dialling { .. } | Link::Of { .. } => None,
        });
        let wanted = |(id, peer): &(&ServerId, &Peer)| peer.waiting || (self.looking && self.view.is_voter(**id));
        let dials = self.peers.iter().filter(wanted).filter_map(|(_, peer)| peer.next_dial_at());
        links.chain(dials).min()
    }

    pub fn on_tick(&mut self, now: Instant, ids: &mut LinkIds, out: &mut Vec<MeshEffect>) {
        let silent = |(link, state): (&LinkId, &Link)| match state {
            Link::Unidentified { until, .. } if *until <= now => Some(*link),
            _ => None,
        };
        let silent: Vec<LinkId> = self.links.iter().filter_map(silent).collect();
        silent.into_iter().for_each(|link| self.close(link, out));
        let due = |(id, peer): (&ServerId, &Peer)| peer.next_dial_at().filter(|at| *at <= now).map(|_| *id);
        let due: Vec<ServerId> = self.peers.iter().filter_map(due).collect();
        due.into_iter().for_each(|id| self.maybe_dial(id, now, ids, out));
    }
}
