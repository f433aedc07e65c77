//! New connections: one acceptor, on the first shard's executor, deals them to the shards with the fewest.
//!
//! A listening socket per core (SO_REUSEPORT) spreads by hash, and of ten clients it may leave cores without any.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};
use socket2::{Domain, Protocol, Socket, Type};

use super::mailbox::Outbox;
use super::net;
use super::poller::Poller;
use crate::base::{Instant, Now};

/// Who may connect: limits on the whole server's connections and on those of one address.
pub trait Admission: Send + Sync {
    /// Counts `peer` in, unless a limit forbids it. Each success is paid back with one `release`.
    fn admit(&self, peer: IpAddr) -> Result<(), Refusal>;
    fn release(&self, peer: IpAddr);
}

/// Which limit was reached, in words for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal(pub String);

/// Everybody may connect.
pub struct NoLimits;

impl Admission for NoLimits {
    fn admit(&self, _peer: IpAddr) -> Result<(), Refusal> {
        Ok(())
    }
    fn release(&self, _peer: IpAddr) {}
}

/// A connection that was admitted and counted, on its way to its shard.
#[derive(Debug)]
pub struct Arrival {
    pub stream: TcpStream,
    pub peer: SocketAddr,
}

/// One way to a shard.
pub enum Way {
    /// The shard on the acceptor's own executor.
    Here,
    There(Outbox<Arrival>),
}

/// Accepts for all shards. Lives on: the core of the first shard.
pub struct Acceptor {
    listeners: Vec<TcpListener>,
    ways: Vec<Way>,
    loads: Vec<Arc<AtomicUsize>>,
    admission: Arc<dyn Admission>,
    /// Where the search for the emptiest shard begins, so that ties are dealt in turn.
    next: usize,
    retry: OwnedFd,
    /// Connections this process has descriptors for, beside those it needs itself.
    room: usize,
    /// A listener may have more to accept.
    pending: bool,
    last_complaint: Option<Instant>,
    unsaid: u64,
}

/// Connections accepted in one turn; the clients already here are served in between. A new one costs the server some 50 us until
/// it has a session, most of it in the turns that follow: these few make turns half a millisecond longer while a thousand come at once.
const ACCEPTS_PER_TURN: usize = 8;

/// The pause after running out of file descriptors (RT-85).
const EXHAUSTED_PAUSE_MS: i64 = 10;

/// Descriptors that clients never get: the journal must be able to open its next segment.
const DESCRIPTORS_KEPT: u64 = 64;

/// At most one line about refused connections in this time.
const COMPLAINT_MS: u64 = 1_000;

/// Binds a port. `backlog` as in `listen(2)`; the kernel caps it at net.core.somaxconn.
///
/// What is accepted inherits the options (tcp(7), socket(7)), when the kernel has greeted the client: so they are set
/// before it greets the first, which is long before the server has read its data.
pub fn listen(address: SocketAddr, backlog: i32, keepalive: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `::` serves IPv4 too, as Java's sockets do.
        socket.set_only_v6(false)?;
    }
    // Replies are written whole; waiting for more of them to share a segment only delays the client.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(keepalive)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether this machine has IPv6 at all.
pub fn ipv6_exists() -> bool {
    TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok()
}

impl Acceptor {
    /// `descriptors`: how many this process may have.
    pub fn new(
        listeners: Vec<TcpListener>,
        ways: Vec<Way>,
        loads: Vec<Arc<AtomicUsize>>,
        admission: Arc<dyn Admission>,
        descriptors: u64,
    ) -> io::Result<Acceptor> {
        assert_eq!(ways.len(), loads.len());
        let retry = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Acceptor {
            listeners,
            ways,
            loads,
            admission,
            next: 0,
            room: descriptors.saturating_sub(DESCRIPTORS_KEPT).max(1) as usize,
            retry,
            pending: true,
            last_complaint: None,
            unsaid: 0,
        })
    }

    /// Keeps back descriptors that others on this server need.
    pub fn keep_back(&mut self, descriptors: usize) {
        self.room = self.room.saturating_sub(descriptors).max(1);
    }

    /// Watches the listeners (and the timer that ends a pause) under one token.
    pub fn watch(&self, poller: &Poller, token: u64) -> io::Result<()> {
        for listener in &self.listeners {
            poller.watch(listener, token, false)?;
        }
        poller.watch(&self.retry, token, false)
    }

    /// The poller saw the token.
    pub fn note(&mut self) {
        self.pending = true;
    }

    pub fn has_pending(&self) -> bool {
        self.pending
    }

    /// Accepts what waits; pushes this executor's share to `here`, the others' leave with [`Acceptor::pass_on`]. Returns whether
    /// there was any.
    pub fn turn(&mut self, now: Now, here: &mut Vec<Arrival>) -> bool {
        if !std::mem::take(&mut self.pending) {
            return false;
        }
        let mut accepted = 0;
        for index in 0..self.listeners.len() {
            while accepted < ACCEPTS_PER_TURN {
                if self.loads.iter().map(|load| load.load(Relaxed)).sum::<usize>() >= self.room {
                    self.stumble(&Errno::MFILE.into(), now);
                    break;
                }
                match self.listeners[index].accept() {
                    Ok((stream, peer)) => {
                        accepted += 1;
                        self.deal(stream, peer, now, here);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.stumble(&error, now);
                        break;
                    }
                }
            }
        }
        self.pending |= accepted == ACCEPTS_PER_TURN;
        accepted > 0
    }

    /// Sends the other executors what they were dealt. Returns how many connections went.
    pub fn pass_on(&mut self) -> usize {
        self.ways.iter_mut().map(|way| if let Way::There(outbox) = way { outbox.send() } else { 0 }).sum()
    }

    fn deal(&mut self, stream: TcpStream, peer: SocketAddr, now: Now, here: &mut Vec<Arrival>) {
        if let Err(Refusal(reason)) = self.admission.admit(peer.ip()) {
            net::abort(&stream);
            return self.complain(now, || format!("refused a connection from {peer}: {reason}"));
        }
        let shard = self.emptiest();
        self.loads[shard].fetch_add(1, Relaxed);
        self.next = (shard + 1) % self.ways.len();
        let arrival = Arrival { stream, peer };
        match &mut self.ways[shard] {
            Way::Here => here.push(arrival),
            Way::There(outbox) => outbox.push(arrival),
        }
    }

    /// The shard with the fewest connections; among equals the one that has waited longest.
    fn emptiest(&self) -> usize {
        let count = self.ways.len();
        let turn = (0..count).map(|step| (self.next + step) % count);
        turn.min_by_key(|&shard| self.loads[shard].load(Relaxed)).expect("a server has a shard")
    }

    fn stumble(&mut self, error: &io::Error, now: Now) {
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            self.pause();
            self.complain(now, || {
                format!("cannot accept connections: {error}; raise the limit of open files (ulimit -n, LimitNOFILE=)")
            });
        } else {
            // The connection died in the queue (ECONNABORTED and its like); the next may be well.
            self.pending = true;
        }
    }

    fn pause(&self) {
        let soon = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: EXHAUSTED_PAUSE_MS * 1_000_000 },
        };
        timerfd_settime(&self.retry, TimerfdTimerFlags::empty(), &soon).expect("a valid timer can be set");
    }

    fn complain(&mut self, now: Now, what: impl FnOnce() -> String) {
        if self.last_complaint.is_some_and(|last| now.mono.millis_since(last) < COMPLAINT_MS) {
            self.unsaid += 1;
            return;
        }
        self.last_complaint = Some(now.mono);
        tracing::warn!(unsaid = std::mem::take(&mut self.unsaid), "{}", what());
    }
}
