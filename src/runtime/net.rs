//! The connections of one shard: read what is ready, send what is dirty, close what is done.
//!
//! No task, timer or buffer belongs to a connection: an idle one is a row of this table (under 64 bytes) and the
//! kernel's socket. Bytes are read into one scratch buffer per executor and handed on at once; replies leave the
//! shard's own buffer with one `send` per connection and turn. A client that does not read fills its own buffer
//! and nothing else: we come back to it when the kernel reports room.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::accept::{Admission, Arrival};
use super::machines::ShardMachine;
use super::poller::{Poller, Ready};
use crate::base::{ConnId, Instant, Now, limits};
use crate::shard::{Close, Effects};

/// The sockets behind a shard's connections. Lives on: every shard core.
pub struct Net {
    conns: Vec<Option<Conn>>,
    /// Connections that may have bytes waiting; each at most once (`Conn::queued`).
    ready: Vec<ConnId>,
    /// Closed by the shard, and not yet shown out; by token.
    leaving: VecDeque<(u64, Leaving)>,
    /// Those of them whose client must first take what has been sent.
    lingering: BTreeMap<u64, Leaving>,
    scratch: Box<[u8]>,
    admission: Arc<dyn Admission>,
    /// This shard's connections, as the acceptor reads it when it spreads new ones.
    load: Arc<AtomicUsize>,
    /// Emptied by `settle`; kept for its capacity.
    spare: Effects,
}

struct Conn {
    stream: TcpStream,
    generation: u32,
    peer: IpAddr,
    /// Bytes at the front of the shard's output that have been sent already.
    sent: usize,
    /// Bytes, or the end, may be waiting in the socket.
    readable: bool,
    /// It is in `Net::ready`.
    queued: bool,
    /// The peer has sent its last byte: read on until the end shows.
    ended: bool,
    /// Nothing can be sent any more.
    broken: bool,
    /// The last send found no room; the poller will tell when there is some.
    full: bool,
}

struct Leaving {
    stream: TcpStream,
    output: Vec<u8>,
    sent: usize,
    since: Instant,
}

/// How long a closed connection's last replies may wait for its client to read them.
const LINGER_MS: u64 = 5_000;

/// Closed connections that leave in one turn. The system calls of each take some 15 us, and when a thousand clients close at once
/// those who stay need not wait for all of them.
const LEAVES_PER_TURN: usize = 16;

/// Sent bytes are cut from the front of an output once they are this many, and half of it.
const CUT_BYTES: usize = 64 * 1024;

// Ten thousand idle sessions must stay cheap.
const _: () = assert!(size_of::<Option<Conn>>() <= 64);

enum Sent {
    All,
    /// The socket is full.
    Some,
    Failed,
}

impl Net {
    pub fn new(admission: Arc<dyn Admission>, load: Arc<AtomicUsize>) -> Net {
        Net {
            conns: Vec::new(),
            ready: Vec::new(),
            leaving: VecDeque::new(),
            lingering: BTreeMap::new(),
            scratch: vec![0; limits::READ_CHUNK_BYTES].into_boxed_slice(),
            admission,
            load,
            spare: Effects::default(),
        }
    }

    /// Takes in a connection that was admitted and counted.
    pub fn open(
        &mut self,
        arrival: Arrival,
        poller: &Poller,
        machine: &mut impl ShardMachine,
        now: Now,
        out: &mut Effects,
    ) {
        let Arrival { stream, peer } = arrival;
        let id = machine.on_accept(peer, now, out);
        let slot = id.slot as usize;
        if self.conns.len() <= slot {
            self.conns.resize_with(slot + 1, || None);
        }
        let watched = poller.watch(&stream, token(id), true);
        let conn = Conn {
            stream,
            generation: id.generation,
            peer: peer.ip(),
            sent: 0,
            readable: false,
            queued: false,
            ended: false,
            broken: false,
            full: false,
        };
        assert!(self.conns[slot].replace(conn).is_none(), "slot {slot} still has a socket");
        if let Err(error) = watched {
            tracing::warn!(%peer, %error, "cannot watch a new connection; closing it");
            self.hang_up(id, machine, out);
        }
    }

    /// Notes what the poller saw of a connection; the work is done by `read` and `settle`.
    pub fn note(&mut self, ready: Ready, out: &mut Effects) {
        let id = conn_id(ready.token);
        if let Some(conn) = self.get(id) {
            conn.ended |= ready.ended;
            conn.broken |= ready.broken;
            if ready.writable && conn.full {
                conn.full = false;
                out.dirty.push(id);
            }
            if ready.readable {
                conn.readable = true;
                self.enqueue(id);
            }
        } else if ready.writable {
            self.send_lingering(ready.token);
        }
    }

    /// Reads every ready connection once. Returns whether anything was there to read.
    ///
    /// One chunk each, so that a client that floods us delays the others by a chunk and no more.
    pub fn read(&mut self, machine: &mut impl ShardMachine, now: Now, out: &mut Effects) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let turn = std::mem::take(&mut self.ready);
        for &id in &turn {
            let Some(conn) = get(&mut self.conns, id) else { continue };
            conn.queued = false;
            if conn.broken && !machine.wants_input(id) {
                // Nobody waits for its answers any more, and the shard is not going to read on.
                self.hang_up(id, machine, out);
                continue;
            }
            if !machine.wants_input(id) {
                continue; // `Effects::resume` will bring it back; `readable` stays.
            }
            match recv(&conn.stream, &mut self.scratch[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.hang_up(id, machine, out),
                Ok((count, _)) => {
                    // A short read emptied the socket; what comes next is a new edge. Unless its end is in already.
                    conn.readable = count == self.scratch.len() || conn.ended;
                    machine.on_bytes(id, &self.scratch[..count], now, out);
                    if get(&mut self.conns, id).is_some_and(|conn| conn.readable) {
                        self.enqueue(id);
                    }
                }
                Err(Errno::AGAIN) => conn.readable = false,
                Err(Errno::INTR) => self.enqueue(id),
                Err(_) => self.hang_up(id, machine, out),
            }
        }
        if self.ready.is_empty() {
            self.ready = turn;
            self.ready.clear();
        }
        true
    }

    /// Whether some connection waits to be read on.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Carries out everything in `out` but its mail.
    pub fn settle(&mut self, machine: &mut impl ShardMachine, now: Now, out: &mut Effects) {
        // What follows from a flush (a paused connection is read again) may be dirty in its turn; it ends, because
        // every round sends or parks what the one before produced.
        while !(out.dirty.is_empty() && out.close.is_empty() && out.resume.is_empty()) {
            let mut work = std::mem::take(&mut self.spare);
            std::mem::swap(&mut work.dirty, &mut out.dirty);
            std::mem::swap(&mut work.close, &mut out.close);
            std::mem::swap(&mut work.resume, &mut out.resume);
            // First, because their last replies leave with them (`show_out`).
            for close in work.close.drain(..) {
                let conn = close.conn;
                self.close(close, machine, now);
                machine.on_hangup(conn, out);
            }
            for id in work.dirty.drain(..) {
                self.flush(id, machine, now, out);
            }
            for id in work.resume.drain(..) {
                if get(&mut self.conns, id).is_some_and(|conn| conn.readable) {
                    self.enqueue(id);
                }
            }
            self.spare = work;
        }
    }

    fn flush(&mut self, id: ConnId, machine: &mut impl ShardMachine, now: Now, out: &mut Effects) {
        let Some(conn) = get(&mut self.conns, id) else { return };
        if conn.full {
            return;
        }
        let output = machine.output(id);
        match send_from(&conn.stream, output, &mut conn.sent) {
            Sent::All => {
                output.clear();
                output.shrink_to(CUT_BYTES);
                conn.sent = 0;
            }
            Sent::Some => {
                conn.full = true;
                if conn.sent >= CUT_BYTES && conn.sent * 2 >= output.len() {
                    output.drain(..conn.sent);
                    conn.sent = 0;
                }
            }
            Sent::Failed => return self.hang_up(id, machine, out),
        }
        machine.on_flushed(id, now, out);
    }

    fn close(&mut self, close: Close, machine: &mut impl ShardMachine, now: Now) {
        let Some(conn) = self.remove(close.conn) else { return };
        let output = std::mem::take(machine.output(close.conn));
        if close.abort {
            return abort(&conn.stream);
        }
        let leaving = Leaving { stream: conn.stream, output, sent: conn.sent, since: now.mono };
        match conn.full {
            true => self.linger(token(close.conn), leaving),
            false => self.leaving.push_back((token(close.conn), leaving)),
        }
    }

    /// Shows out a few of the connections that the shard has closed.
    pub fn show_out(&mut self) {
        for _ in 0..LEAVES_PER_TURN {
            let Some((token, mut conn)) = self.leaving.pop_front() else { return };
            match send_from(&conn.stream, &conn.output, &mut conn.sent) {
                Sent::All | Sent::Failed => end(&conn.stream, &mut self.scratch),
                Sent::Some => self.linger(token, conn),
            }
        }
    }

    /// Whether some connection waits to be shown out.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    fn linger(&mut self, token: u64, mut conn: Leaving) {
        conn.output.shrink_to_fit();
        self.lingering.insert(token, conn);
    }

    fn send_lingering(&mut self, token: u64) {
        let Some(conn) = self.lingering.get_mut(&token) else { return };
        if !matches!(send_from(&conn.stream, &conn.output, &mut conn.sent), Sent::Some) {
            end(&conn.stream, &mut self.scratch);
            self.lingering.remove(&token);
        }
    }

    /// Gives up on clients that do not read the end of what they asked for.
    pub fn tick(&mut self, now: Now) {
        self.lingering.retain(|_, conn| {
            let wait = now.mono.millis_since(conn.since) < LINGER_MS;
            if !wait {
                abort(&conn.stream);
            }
            wait
        });
    }

    /// Sends what can be sent now and closes every connection: the server stops.
    ///
    /// Returns false while a client has replies left to read.
    pub fn close_all(&mut self, machine: &mut impl ShardMachine, now: Now) -> bool {
        for slot in 0..self.conns.len() {
            let Some(conn) = &self.conns[slot] else { continue };
            let conn = ConnId { slot: slot as u32, generation: conn.generation };
            self.close(Close { conn, abort: false }, machine, now);
        }
        while self.has_leaving() {
            self.show_out();
        }
        self.lingering.is_empty()
    }

    fn hang_up(&mut self, id: ConnId, machine: &mut impl ShardMachine, out: &mut Effects) {
        if self.remove(id).is_some() {
            machine.on_hangup(id, out);
        }
    }

    /// Forgets the socket; it closes (and leaves the poller) when the result is dropped.
    fn remove(&mut self, id: ConnId) -> Option<Conn> {
        get(&mut self.conns, id)?;
        let conn = self.conns[id.slot as usize].take()?;
        self.admission.release(conn.peer);
        self.load.fetch_sub(1, Relaxed);
        Some(conn)
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        get(&mut self.conns, id)
    }

    fn enqueue(&mut self, id: ConnId) {
        let Some(conn) = get(&mut self.conns, id) else { return };
        if !std::mem::replace(&mut conn.queued, true) {
            self.ready.push(id);
        }
    }
}

fn get(conns: &mut [Option<Conn>], id: ConnId) -> Option<&mut Conn> {
    conns.get_mut(id.slot as usize)?.as_mut().filter(|conn| conn.generation == id.generation)
}

fn token(id: ConnId) -> u64 {
    assert!(id.slot != u32::MAX, "the last slot's tokens are the driver's own");
    u64::from(id.slot) << 32 | u64::from(id.generation)
}

fn conn_id(token: u64) -> ConnId {
    ConnId { slot: (token >> 32) as u32, generation: token as u32 }
}

fn send_from(stream: &TcpStream, output: &[u8], sent: &mut usize) -> Sent {
    while *sent < output.len() {
        match send(stream, &output[*sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => *sent += count,
            Err(Errno::AGAIN) => return Sent::Some,
            Err(Errno::INTR) => {}
            Err(_) => return Sent::Failed,
        }
    }
    Sent::All
}

/// Closes in good order. Unread bytes would turn the close into a reset that can overtake our last reply.
fn end(stream: &TcpStream, scratch: &mut [u8]) {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = recv(stream, &mut *scratch, RecvFlags::DONTWAIT);
}

/// Resets the connection when its descriptor is dropped.
pub fn abort(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
