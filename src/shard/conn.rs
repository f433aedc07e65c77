//! One client's connection, and the slots they live in.
//!
//! Small on purpose: a server holds many idle ones. Whatever an idle connection does not need (kept input,
//! waiting requests) is an empty vector without memory.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::admin::Word;
use crate::base::{AuthIds, ConnId, ErrorCode, Id, Instant, Now, SessionId, WallMs, Xid};
use crate::codec::opcode::OpCode;
use crate::mail::metrics::Summary;

/// Where a connection is in its life. The grid of what may happen when is printed in `grid.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing but bytes so far: a handshake or a four-letter word may come.
    Greeting,
    /// The handshake is with the replica; nothing more is read (parity H-10).
    Connecting { old_client: bool },
    /// The session is this connection's.
    Live,
    /// A four-letter word waits for the survey.
    Asking(Word),
    /// Told to close; only its output is left.
    Closing,
}

/// What stands in a connection's line. The front is always `Submitted`: whatever else stood there would have
/// been answered.
#[derive(Debug)]
pub enum Waiting {
    /// The replica has it.
    Submitted { xid: Xid, op: OpCode, bytes: u32, arrived: Instant },
    /// A request this shard answers itself, once those before it are answered: the whole frame.
    Frame { bytes: Box<[u8]>, arrived: Instant },
    /// Refused already; only its turn has not come.
    Refused { xid: Xid, error: ErrorCode },
}

impl Waiting {
    pub fn bytes(&self) -> usize {
        match self {
            Waiting::Submitted { bytes, .. } => *bytes as usize,
            Waiting::Frame { bytes, .. } => bytes.len(),
            Waiting::Refused { .. } => 0,
        }
    }
}

#[derive(Debug)]
pub struct Conn {
    pub id: ConnId,
    pub phase: Phase,
    /// `Effects::dirty` names it already, and the driver has not looked yet.
    pub is_dirty: bool,
    /// What the driver was last told (`Shard::wants_input`).
    pub is_read: bool,
    /// Waits in the shard's line of those held back by a limit of the whole shard.
    pub is_stalled: bool,
    pub peer: SocketAddr,
    pub session: SessionId,
    pub timeout_ms: i32,
    pub ids: AuthIds,
    /// Bytes that could not be served yet.
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    pub waiting: VecDeque<Waiting>,
    pub waiting_bytes: usize,
    /// When bytes last moved in either direction.
    pub active: Instant,
    /// Since when the request throttle holds this connection's next request.
    pub held: Option<Instant>,
    /// This connection's line in the shard's next `Heard`: valid if the report has that number.
    pub heard_report: u32,
    pub heard_at: u32,
    pub stats: ConnStats,
}

/// What `cons` shows and `crst` clears.
#[derive(Clone, Copy, Debug)]
pub struct ConnStats {
    pub established: WallMs,
    pub received: u64,
    pub sent: u64,
    pub last_op: &'static str,
    pub last_cxid: i64,
    pub last_zxid: i64,
    pub last_response_ms: u64,
    pub last_latency_ms: u64,
    pub latency_ms: Summary,
}

impl ConnStats {
    fn new(established: WallMs) -> ConnStats {
        ConnStats {
            established,
            received: 0,
            sent: 0,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            latency_ms: Summary::default(),
        }
    }

    /// `crst`: everything but when it was established (ZK: ServerCnxn.resetStats).
    pub fn reset(&mut self) {
        *self = ConnStats::new(self.established);
    }
}

impl Conn {
    fn new(id: ConnId, peer: SocketAddr, now: Now) -> Conn {
        let ip = Id::new("ip", &java_address(peer.ip()));
        Conn {
            id,
            phase: Phase::Greeting,
            is_dirty: false,
            is_read: true,
            is_stalled: false,
            peer,
            session: SessionId::NONE,
            timeout_ms: 0,
            ids: AuthIds::from([ip]),
            input: Vec::new(),
            output: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            active: now.mono,
            held: None,
            heard_report: 0,
            heard_at: 0,
            stats: ConnStats::new(now.wall),
        }
    }

    /// Adds an identity unless it is there already (parity A-48).
    pub fn add_id(&mut self, id: Id) {
        if !self.ids.contains(&id) {
            self.ids = self.ids.iter().cloned().chain([id]).collect();
        }
    }

    pub fn push_waiting(&mut self, waiting: Waiting) {
        self.waiting_bytes += waiting.bytes();
        self.waiting.push_back(waiting);
    }

    pub fn pop_waiting(&mut self) -> Option<Waiting> {
        let front = self.waiting.pop_front()?;
        self.waiting_bytes -= front.bytes();
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting = VecDeque::new();
        }
        Some(front)
    }
}

/// A line this short is kept when it empties: a client that writes one by one should not allocate each time.
const IDLE_CAPACITY: usize = 4;

/// An address as Java prints it, which is what ip identities are compared with: IPv4 dotted (mapped ones
/// too), IPv6 in eight groups without zeros left out (parity H-18).
pub fn java_address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => ip.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// The connections of one shard. A slot is used again, under a new generation.
#[derive(Debug, Default)]
pub struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

impl Slots {
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        let id = ConnId { slot, generation: entry.generation };
        entry.conn = Some(Box::new(Conn::new(id, peer, now)));
        self.live += 1;
        id
    }

    /// `None` once that connection is gone, whoever has the slot now.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation { slot.conn.as_deref() } else { None }
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.conn.as_deref_mut() } else { None }
    }

    /// The tenant of a slot, for tables that hold bare slots and are cleared when their tenant goes.
    pub fn in_slot(&mut self, slot: u32) -> Option<&mut Conn> {
        self.slots.get_mut(slot as usize)?.conn.as_deref_mut()
    }

    pub fn free(&mut self, id: ConnId) {
        let slot = &mut self.slots[id.slot as usize];
        if slot.generation == id.generation && slot.conn.take().is_some() {
            self.free.push(id.slot);
            self.live -= 1;
        }
    }

    /// Connections that are not gone, closing ones included.
    pub fn live(&self) -> usize {
        self.live
    }

    /// One more than the highest slot ever used.
    pub fn end(&self) -> usize {
        self.slots.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().filter_map(|slot| slot.conn.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.slots.iter_mut().filter_map(|slot| slot.conn.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // Beside this: its ip identity (about 100 bytes with the allocator's own).
        let bytes = size_of::<Conn>() + size_of::<Slot>();
        assert!(bytes <= 400, "{bytes}");
    }

    #[test]
    fn a_slot_tells_its_tenants_apart() {
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mut slots = Slots::default();
        let first = slots.open(peer, Now::default());
        slots.free(first);
        slots.free(first);
        let second = slots.open(peer, Now::default());
        assert_eq!(first.slot, second.slot);
        assert!(slots.get(first).is_none() && slots.get(second).is_some());
        assert_eq!(slots.live(), 1);
    }

    #[test]
    fn addresses_are_printed_as_java_does() {
        assert_eq!(java_address("::1".parse().unwrap()), "0:0:0:0:0:0:0:1");
        assert_eq!(java_address("2001:db8::ff".parse().unwrap()), "2001:db8:0:0:0:0:0:ff");
        assert_eq!(java_address("::ffff:1.2.3.4".parse().unwrap()), "1.2.3.4");
    }
}
