//! A link that does not stand yet: all addresses of a member are tried, the first that answers wins.
//!
//! Several addresses of one *name* are the same door more than once, so they are tried a little apart; what a losing
//! attempt leaves at the other end is a connection that says nothing.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::super::poller::Poller;
use super::link::{Conn, Output};
use super::{Link, Outcome, Owner, Peers, State, dialling, token};
use crate::base::{Instant, LinkId, Now, PeerAddress};

/// One dial.
pub struct Dial {
    pub deadline: Instant,
    /// Names not yet answered.
    pub names: usize,
    /// Connections under way: their number at the poller, and the socket.
    pub attempts: Vec<(u32, TcpStream)>,
    /// Further addresses of names, for when the first do not answer.
    pub later: VecDeque<SocketAddr>,
    pub last_start: Instant,
}

/// How long an address of a name has before the next is tried beside it.
pub const STAGGER_MS: u64 = 250;

impl Dial {
    pub fn new(now: Instant, timeout_ms: u64) -> Dial {
        Dial {
            deadline: now.plus_ms(timeout_ms),
            names: 0,
            attempts: Vec::new(),
            later: VecDeque::new(),
            last_start: now,
        }
    }

    /// Nothing can come of it any more.
    pub fn is_hopeless(&self) -> bool {
        self.names == 0 && self.attempts.is_empty() && self.later.is_empty()
    }
}

/// Begins to connect without waiting for it.
///
/// Errors: refused at once (no route, no descriptor).
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// What became of an attempt the poller woke us for: `None` while it is still under way.
pub fn outcome(stream: &TcpStream) -> Option<io::Result<()>> {
    if let Err(error) = stream.take_error().and_then(|error| error.map_or(Ok(()), Err)) {
        return Some(Err(error));
    }
    match (stream.peer_addr(), stream.local_addr()) {
        // On one machine a dial to a port nobody listens on may meet itself.
        (Ok(peer), Ok(own)) if peer == own => Some(Err(io::ErrorKind::ConnectionRefused.into())),
        (Ok(_), _) => Some(Ok(())),
        (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => None,
        (Err(error), _) => Some(Err(error)),
    }
}

/// The options of every connection between members.
pub fn prepare(stream: &TcpStream, keepalive: bool) {
    // Packets are written whole; waiting for more of them to share a segment only delays the peer.
    let _ = stream.set_nodelay(true);
    if keepalive {
        let _ = SockRef::from(stream).set_keepalive(true);
    }
}

impl Peers {
    pub(super) fn dial(&mut self, id: LinkId, to: Vec<PeerAddress>, timeout_ms: u64, poller: &Poller, now: Now) {
        assert!(id.0.is_multiple_of(2), "{id:?} is not a number for a link that is dialled");
        let link = Link {
            state: State::Dialling(Dial::new(now.mono, timeout_ms)),
            output: Output::default(),
            tells_drained: false,
        };
        assert!(self.links.insert(id, link).is_none(), "{id:?} is in use");
        for address in to {
            if let Ok(ip) = address.host.parse() {
                self.attempt(id, SocketAddr::new(ip, address.port), poller, now.mono);
            } else {
                let Some(dial) = dialling(&mut self.links, id) else { return };
                dial.names += 1;
                self.resolver.ask(id, address);
            }
        }
        self.lose_if_hopeless(id);
    }

    pub(super) fn take_addresses(&mut self, poller: &Poller, now: Now) {
        for answer in self.resolver.take() {
            // Nobody waits for it once the dial has ended some other way.
            let Some(dial) = dialling(&mut self.links, answer.link) else { continue };
            dial.names -= 1;
            match answer.found {
                Ok(found) => {
                    let mut found = found.into_iter();
                    let first = found.next();
                    dial.later.extend(found);
                    if let Some(first) = first {
                        self.attempt(answer.link, first, poller, now.mono);
                    }
                }
                Err(why) => {
                    let host = &answer.asked.host;
                    self.complaints.say(now.mono, || {
                        format!("the host of a member, {host}, has no address: {why}; correct the server line or DNS")
                    });
                }
            }
            self.lose_if_hopeless(answer.link);
        }
    }

    fn attempt(&mut self, id: LinkId, to: SocketAddr, poller: &Poller, now: Instant) {
        let Some(dial) = dialling(&mut self.links, id) else { return };
        dial.last_start = now;
        let stream = match connect(to) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%to, %error, "cannot connect to a member"),
        };
        let serial = self.claim(Owner::Attempt(id));
        if let Err(error) = poller.watch(&stream, token(serial), true) {
            self.owners.remove(&serial);
            return tracing::warn!(%to, %error, "cannot watch a connection to a member");
        }
        let dial = dialling(&mut self.links, id).expect("looked up above");
        dial.attempts.push((serial, stream));
    }

    /// Tries the next address that was held back; loses the link if there is none and nothing else is left to wait for.
    pub(super) fn start_next(&mut self, id: LinkId, poller: &Poller, now: Instant) {
        while let Some(dial) = dialling(&mut self.links, id) {
            let under_way = dial.attempts.len();
            let Some(to) = dial.later.pop_front() else { break };
            self.attempt(id, to, poller, now);
            if dialling(&mut self.links, id).is_some_and(|dial| dial.attempts.len() > under_way) {
                return;
            }
        }
        self.lose_if_hopeless(id);
    }

    pub(super) fn judge_attempts(&mut self, poller: &Poller, now: Now) {
        for id in std::mem::take(&mut self.woken) {
            // It may have been decided since, by another attempt's event.
            let Some(dial) = dialling(&mut self.links, id) else { continue };
            let mut won = None;
            let mut failed = Vec::new();
            dial.attempts.retain_mut(|(serial, stream)| match outcome(stream) {
                None => true,
                Some(Ok(())) if won.is_none() => {
                    won = Some(*serial);
                    true
                }
                Some(Ok(())) => true,
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot connect to a member");
                    failed.push(*serial);
                    false
                }
            });
            failed.iter().for_each(|serial| {
                self.owners.remove(serial);
            });
            match won {
                Some(serial) => self.connected(id, serial),
                None if failed.is_empty() => {}
                None => self.start_next(id, poller, now.mono),
            }
        }
    }

    fn connected(&mut self, id: LinkId, serial: u32) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let State::Dialling(dial) = std::mem::replace(&mut link.state, State::Lost) else {
            unreachable!("only a dial has attempts")
        };
        for (other, stream) in dial.attempts {
            if other == serial {
                prepare(&stream, self.keepalive);
                self.owners.insert(serial, Owner::Link(id));
                link.state = State::Open(Conn::new(stream, serial));
            } else {
                self.owners.remove(&other);
            }
        }
        self.outcomes.push((id, Outcome::Connected));
        self.mark_ready(id);
        self.mark_dirty(id);
    }

    fn lose_if_hopeless(&mut self, id: LinkId) {
        if dialling(&mut self.links, id).is_some_and(|dial| dial.is_hopeless()) {
            self.lose(id);
        }
    }
}
