//! Links that stand: accepted, read, filled, closed.

use std::io;
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::super::machines::ReplicaMachine;
use super::super::net::abort;
use super::super::poller::Poller;
use super::dial::prepare;
use super::link::{Conn, Lingering, Output, Sent};
use super::{Door, Link, Outcome, Owner, Peers, State, conn, token};
use crate::base::{LinkId, Now, limits};
use crate::replica::{Effects, PeerNews};

/// Links others opened to us, at most: a stranger must not take the descriptors the journal needs.
pub(super) const ACCEPTED_MAX: usize = 512;

/// Accepted in one turn.
const ACCEPTS_PER_TURN: usize = 64;

impl Peers {
    pub(super) fn accept(
        &mut self,
        machine: &mut impl ReplicaMachine,
        poller: &Poller,
        now: Now,
        out: &mut Effects,
    ) -> bool {
        let mut count = 0;
        for index in 0..self.listeners.len() {
            while self.listeners[index].pending && count < ACCEPTS_PER_TURN {
                let Door { port, listener, .. } = &self.listeners[index];
                match listener.accept() {
                    Ok((stream, from)) => {
                        count += 1;
                        let port = *port;
                        if let Some(link) = self.admit(stream, from, poller, now) {
                            self.tell(machine, PeerNews::Accepted { link, port, from }, poller, now, out);
                        }
                    }
                    Err(error) => {
                        // The tick comes back to what is not just an empty queue or a dead caller in it.
                        let dead = matches!(Errno::from_io_error(&error), Some(Errno::CONNABORTED | Errno::INTR));
                        self.listeners[index].pending = dead;
                        if !dead && error.kind() != io::ErrorKind::WouldBlock {
                            self.listeners[index].stumbled = true;
                            let say = || format!("cannot accept a connection of a member: {error}");
                            self.complaints.say(now.mono, say);
                        }
                    }
                }
            }
        }
        count > 0
    }

    fn admit(&mut self, stream: TcpStream, from: SocketAddr, poller: &Poller, now: Now) -> Option<LinkId> {
        if self.accepted >= ACCEPTED_MAX {
            abort(&stream);
            let say =
                || format!("refused a connection from {from}: {ACCEPTED_MAX} others have come to the member ports");
            self.complaints.say(now.mono, say);
            return None;
        }
        let id = LinkId(self.next_accepted);
        let serial = self.claim(Owner::Link(id));
        if let Err(error) = poller.watch(&stream, token(serial), true) {
            self.owners.remove(&serial);
            tracing::warn!(%from, %error, "cannot watch a connection from a member");
            return None;
        }
        prepare(&stream, self.keepalive);
        self.next_accepted += 2;
        self.accepted += 1;
        let state = State::Open(Conn::new(stream, serial));
        self.links.insert(id, Link { state, output: Output::default(), tells_drained: false });
        self.mark_ready(id);
        Some(id)
    }

    pub(super) fn read(
        &mut self,
        machine: &mut impl ReplicaMachine,
        poller: &Poller,
        now: Now,
        out: &mut Effects,
    ) -> bool {
        let mut busy = false;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut turn = std::mem::take(&mut self.ready);
        for id in turn.drain(..) {
            let Some(conn) = conn(&mut self.links, id) else { continue };
            conn.queued = false;
            if !conn.readable {
                continue;
            }
            match recv(&conn.stream, &mut scratch[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => {
                    busy = true;
                    // A short read emptied the socket; what comes next is a new edge. Unless its end is in already.
                    conn.readable = count == scratch.len() || conn.ended || conn.mute;
                    let on = conn.readable;
                    self.tell(machine, PeerNews::Bytes { link: id, bytes: &scratch[..count] }, poller, now, out);
                    if on {
                        self.mark_ready(id);
                    }
                }
                Err(Errno::AGAIN) if !conn.mute => conn.readable = false,
                Err(Errno::INTR) => self.mark_ready(id),
                Ok(_) | Err(_) => {
                    busy = true;
                    self.drop_socket(id);
                    self.tell(machine, PeerNews::Closed { link: id }, poller, now, out);
                    self.links.remove(&id);
                }
            }
        }
        self.scratch = scratch;
        if self.ready.is_empty() {
            self.ready = turn;
        }
        busy
    }

    pub(super) fn queue(&mut self, id: LinkId, bytes: Bytes) {
        // A link that is gone, with the news under way.
        let Some(link) = self.links.get_mut(&id) else { return };
        match &mut link.state {
            State::Lost => return,
            State::Open(conn) if conn.mute => return,
            State::Open(_) | State::Dialling(_) => {}
        }
        link.output.push(bytes);
        if link.output.cost() > limits::PEER_OUTPUT_MAX_BYTES {
            self.relieve(id);
        }
        self.mark_dirty(id);
    }

    pub(super) fn tell_drained(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.tells_drained = true;
        }
        self.mark_dirty(id); // It may have been empty all along.
    }

    /// More waits than may: sends what goes, and cuts the link off if that is not enough.
    fn relieve(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let State::Open(conn) = &mut link.state {
            while !conn.full && link.output.cost() > limits::PEER_OUTPUT_MAX_BYTES {
                match link.output.send(&conn.stream) {
                    Sent::Some => {}
                    Sent::Full => conn.full = true,
                    Sent::All | Sent::Failed => break,
                }
            }
        }
        if link.output.cost() > limits::PEER_OUTPUT_MAX_BYTES {
            tracing::warn!(bytes = link.output.cost(), "a member does not read what it is sent; cutting it off");
            if let State::Open(conn) = &link.state {
                abort(&conn.stream);
            }
            self.lose(id);
        }
    }

    pub(super) fn close(&mut self, id: LinkId, now: Now) {
        let Some(mut link) = self.links.remove(&id) else { return };
        match link.state {
            State::Lost => {}
            State::Dialling(dial) => {
                dial.attempts.iter().for_each(|(serial, _)| {
                    self.owners.remove(serial);
                });
            }
            State::Open(conn) => {
                self.uncount(id);
                self.owners.insert(conn.serial, Owner::Lingering);
                if conn.mute {
                    link.output.clear();
                }
                let (serial, output) = (conn.serial, link.output);
                let lingering = Lingering { stream: conn.stream, output, since: now.mono, shut: false };
                self.lingering.insert(serial, lingering);
                self.work_lingering(serial);
            }
        }
    }

    pub(super) fn work_lingering(&mut self, serial: u32) {
        if self.lingering.get_mut(&serial).is_some_and(|link| link.work()) {
            self.forget_lingering(serial);
        }
    }

    pub(super) fn forget_lingering(&mut self, serial: u32) {
        self.lingering.remove(&serial);
        self.owners.remove(&serial);
    }

    /// Gives up a link; the replica will be told.
    pub(super) fn lose(&mut self, id: LinkId) {
        self.drop_socket(id);
        self.outcomes.push((id, Outcome::Closed));
    }

    /// Closes the link's sockets. Its row stays until the replica has been told.
    pub(super) fn drop_socket(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.output.clear();
        match std::mem::replace(&mut link.state, State::Lost) {
            State::Lost => {}
            State::Dialling(dial) => {
                dial.attempts.iter().for_each(|(serial, _)| {
                    self.owners.remove(serial);
                });
            }
            State::Open(conn) => {
                self.owners.remove(&conn.serial);
                self.uncount(id);
            }
        }
    }

    fn uncount(&mut self, id: LinkId) {
        if !id.0.is_multiple_of(2) {
            self.accepted -= 1;
        }
    }
}
