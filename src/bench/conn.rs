//! One loaded connection: what it has sent, what it waits for, and the two buffers between.
//!
//! Lives on: the load thread that was given it. After its start it allocates nothing: the ring and the
//! outgoing buffer are as large as the requests allowed on their way, and incoming bytes lie in a buffer
//! that all connections of a thread share, so that it stays in the processor's cache.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::mix::Own;
use super::plan::{Asked, Plan, Rng};
use super::tally::Tally;
use super::wire;

/// A request on its way.
#[derive(Clone, Copy)]
struct Pending {
    /// When it was sent or, in an open loop, should have been sent: nanoseconds of the run's clock.
    start: u64,
    asked: Asked,
}

pub struct Conn {
    stream: TcpStream,
    token: Token,
    own: Own,
    next_xid: i32,
    expected_xid: i32,
    ring: Box<[Pending]>,
    head: usize,
    in_flight: usize,
    out: Vec<u8>,
    written: usize,
    wants_writable: bool,
    /// The beginning of a frame whose rest has not come yet.
    partial: Vec<u8>,
    last_sent: u64,
    ping_after: u64,
}

/// The xid that follows; zero and the negative ones mean other things.
#[inline]
fn after(xid: i32) -> i32 {
    if xid == i32::MAX { 1 } else { xid + 1 }
}

impl Conn {
    /// Takes over a connection whose handshake is done. `timeout_ms` is the session's.
    pub fn new(
        stream: std::net::TcpStream,
        timeout_ms: u32,
        id: u32,
        outstanding: usize,
        plan: &Plan,
    ) -> Result<Conn, String> {
        stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        Ok(Conn {
            stream: TcpStream::from_std(stream),
            token: Token(0),
            own: plan.own(id),
            next_xid: 1,
            expected_xid: 1,
            ring: vec![Pending { start: 0, asked: Asked::READ }; outstanding].into_boxed_slice(),
            head: 0,
            in_flight: 0,
            out: Vec::with_capacity(outstanding * plan.request_bytes_max() + 64),
            written: 0,
            wants_writable: false,
            partial: Vec::with_capacity(4096),
            last_sent: 0,
            ping_after: u64::from(timeout_ms) * 1_000_000 / 3,
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> Result<(), String> {
        self.token = token;
        registry.register(&mut self.stream, token, Interest::READABLE).map_err(|e| e.to_string())
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Puts the next request into the outgoing buffer. `start` is what its latency counts from.
    #[inline]
    pub fn issue(&mut self, plan: &Plan, rng: &mut Rng, start: u64) {
        debug_assert!(self.in_flight < self.ring.len());
        let asked = plan.next(rng, &mut self.own, self.next_xid, &mut self.out);
        let mut at = self.head + self.in_flight;
        if at >= self.ring.len() {
            at -= self.ring.len();
        }
        self.ring[at] = Pending { start, asked };
        self.in_flight += 1;
        self.own.step += 1;
        self.next_xid = after(self.next_xid);
    }

    /// Hands the outgoing buffer to the kernel, as much of it as it takes.
    pub fn flush(&mut self, registry: &Registry, now: u64) -> Result<(), String> {
        self.last_sent = now;
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err("a connection takes no more bytes".into()),
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if !self.wants_writable {
                        self.wants_writable = true;
                        self.watch(registry, Interest::READABLE | Interest::WRITABLE)?;
                    }
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("lost a connection while writing: {e}")),
            }
        }
        self.out.clear();
        self.written = 0;
        if self.wants_writable {
            self.wants_writable = false;
            self.watch(registry, Interest::READABLE)?;
        }
        Ok(())
    }

    fn watch(&mut self, registry: &Registry, interest: Interest) -> Result<(), String> {
        registry.reregister(&mut self.stream, self.token, interest).map_err(|e| e.to_string())
    }

    pub fn has_unwritten(&self) -> bool {
        self.written < self.out.len()
    }

    /// Sends a ping if the session would otherwise fall silent for a third of its timeout.
    pub fn ping_if_idle(&mut self, registry: &Registry, now: u64) -> Result<(), String> {
        if now - self.last_sent < self.ping_after || self.has_unwritten() {
            return Ok(());
        }
        wire::header_only(&mut self.out, wire::XID_PING, wire::op::PING);
        self.flush(registry, now)
    }

    /// Reads what has come and accounts for it. `until_empty` must be set when the peer has closed its
    /// side: no further readiness is announced then, and the end of the stream has to be found.
    /// Returns how many requests were answered.
    pub fn receive(
        &mut self,
        inbuf: &mut Vec<u8>,
        until_empty: bool,
        clock: impl Fn() -> u64,
        tally: &mut Tally,
    ) -> Result<usize, String> {
        let mut answered = 0;
        loop {
            let kept = self.partial.len();
            if kept + READ_BYTES_MIN > inbuf.len() {
                inbuf.resize(kept * 2 + READ_BYTES_MIN, 0);
            }
            inbuf[..kept].copy_from_slice(&self.partial);
            self.partial.clear();
            let (got, drained) = match self.stream.read(&mut inbuf[kept..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                // A short read has emptied the socket: what comes later announces itself again.
                Ok(count) => (count, kept + count < inbuf.len() && !until_empty),
                Err(e) if e.kind() == ErrorKind::WouldBlock => (0, true),
                Err(e) if e.kind() == ErrorKind::Interrupted => (0, false),
                Err(e) => return Err(format!("lost a connection while reading: {e}")),
            };
            let have = kept + got;
            let used = self.account(&inbuf[..have], clock(), tally, &mut answered)?;
            self.partial.extend_from_slice(&inbuf[used..have]);
            if drained {
                return Ok(answered);
            }
        }
    }

    /// Walks over the complete frames in `bytes`; returns how many bytes those were.
    #[inline]
    fn account(&mut self, bytes: &[u8], now: u64, tally: &mut Tally, answered: &mut usize) -> Result<usize, String> {
        let mut at = 0;
        while bytes.len() - at >= 4 {
            let length = wire::int_at(bytes, at);
            if length < wire::HEADER_BYTES as i32 || length as usize > wire::FRAME_BYTES_MAX {
                return Err(format!("the server sent a frame of length {length}"));
            }
            let Some(frame) = bytes.get(at + 4..at + 4 + length as usize) else { break };
            at += 4 + length as usize;
            let xid = wire::int_at(frame, 0);
            if xid != self.expected_xid || self.in_flight == 0 {
                if xid == wire::XID_PING || xid == wire::XID_EVENT {
                    continue;
                }
                return Err(format!("a reply out of order: xid {xid} where {} was due", self.expected_xid));
            }
            let pending = self.ring[self.head];
            let mut err = wire::int_at(frame, 12);
            if pending.asked.multi && err == 0 {
                err = wire::multi_error(&frame[wire::HEADER_BYTES..]).unwrap_or(0);
            }
            if err != 0 {
                tally.error(err);
            }
            self.head = if self.head + 1 == self.ring.len() { 0 } else { self.head + 1 };
            self.in_flight -= 1;
            self.expected_xid = after(self.expected_xid);
            tally.answered(pending.asked.kind, pending.start, now);
            *answered += 1;
        }
        tally.settle(now);
        Ok(at)
    }

    /// Ends the session as a client does; the server need not wait for its timeout.
    pub fn close(mut self, registry: &Registry) {
        wire::header_only(&mut self.out, self.next_xid, wire::op::CLOSE_SESSION);
        // The measurement is over; a connection that breaks now has nothing left to tell.
        let _ = self.flush(registry, self.last_sent);
    }
}

/// What a read asks for at least; large, so that one call takes many replies.
pub const READ_BYTES_MIN: usize = 64 << 10;
