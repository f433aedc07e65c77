//! What the mesh knows of one peer and of one link.

use bytes::Bytes;

use super::mesh::CROSSING_MS;
use crate::base::{Instant, LinkId, PeerAddress, ServerId};

#[derive(Debug)]
pub(super) enum Link {
    /// Accepted; the preamble is not complete.
    Unidentified { until: Instant, bytes: Vec<u8> },
    /// Not connected yet.
    Dialling { to: ServerId },
    /// The connection to a peer, with what came of a message that is not complete.
    Of { peer: ServerId, bytes: Vec<u8> },
}

#[derive(Debug, Default)]
pub(super) struct Peer {
    pub link: Option<LinkId>,
    linked_at: Instant,
    /// When its last link was closed by it.
    pub lost_at: Option<Instant>,
    /// A dial that is not connected yet, and since when.
    pub dialling: Option<(LinkId, Instant)>,
    /// A larger peer knows that it is to dial, until then it is not asked again.
    pub dial_back_until: Option<Instant>,
    /// A smaller peer asks to be dialled, at these addresses if there are any.
    pub dial_back: Option<Vec<PeerAddress>>,
    /// The last message, sent or not.
    pub newest: Option<Bytes>,
    /// It has not been sent.
    pub waiting: bool,
    /// The last dial failed, and nothing was heard of it since.
    pub refused: bool,
    pub redial_at: Option<Instant>,
    backoff_ms: u64,
}

impl Peer {
    /// There is somebody after all, or it is time to look anew.
    pub fn forget_failures(&mut self) {
        self.refused = false;
        self.redial_at = None;
        self.backoff_ms = 0;
    }

    /// How long to wait after another failure.
    pub fn back_off(&mut self, min_ms: u64, max_ms: u64) -> u64 {
        self.backoff_ms = (self.backoff_ms * 2).clamp(min_ms, max_ms);
        self.backoff_ms
    }

    /// Takes a new link; returns the one it replaces.
    pub fn adopt(&mut self, link: LinkId, now: Instant) -> Option<LinkId> {
        self.linked_at = now;
        self.lost_at = None;
        self.dial_back_until = None;
        self.dial_back = None;
        self.waiting = false;
        self.link.replace(link)
    }

    /// A smaller peer dialled. If its dial may have crossed ours on the way, our young link stands (`true`);
    /// otherwise it has none and is to be dialled, and the link to close, if any, is returned.
    pub fn challenged(&mut self, addresses: Vec<PeerAddress>, now: Instant) -> (bool, Option<LinkId>) {
        if self.link.is_some() && now < self.linked_at.plus_ms(CROSSING_MS) {
            return (true, None);
        }
        self.dial_back = Some(addresses);
        (false, self.link.take())
    }

    pub fn may_be_dialled(&self, now: Instant) -> bool {
        let dialling = match self.dialling {
            // A dial that hangs gives way to one to where the peer says it is.
            Some((_, since)) => self.dial_back.is_none() || now < since.plus_ms(CROSSING_MS),
            None => false,
        };
        self.link.is_none()
            && !dialling
            && self.dial_back_until.is_none_or(|until| until <= now)
            && self.redial_at.is_none_or(|at| at <= now)
    }

    /// When a dial that has to wait is due.
    pub fn next_dial_at(&self) -> Option<Instant> {
        if self.link.is_some() || self.dialling.is_some() {
            return None;
        }
        self.dial_back_until.max(self.redial_at)
    }

    /// No connection, and none on its way.
    pub fn is_idle(&self) -> bool {
        self.link.is_none() && self.dialling.is_none() && self.dial_back_until.is_none()
    }
}
