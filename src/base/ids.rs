//! Newtypes for the numbers ZooKeeper speaks in, so that none is mistaken for another.

use std::fmt;

/// A transaction id: high 32 bits the leader's epoch, low 32 bits a counter within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    pub const ZERO: Zxid = Zxid(0);
    /// What a notification header carries when no transaction triggered it (parity X-07).
    pub const NONE: Zxid = Zxid(-1);

    /// The leader's epoch; 0 on a standalone server.
    pub fn epoch(self) -> i64 {
        self.0 >> 32
    }

    /// The counter within the epoch.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid. Standalone servers count on through the low word into the epoch, as ZooKeeper's do.
    #[must_use]
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }

    /// Where an epoch begins: a zxid that carries no transaction (ZK: ZxidUtils.makeZxid).
    pub fn begin_of(epoch: i64) -> Zxid {
        Zxid(epoch << 32)
    }

    /// Whether a leader proposes `next` right behind this: the next of the epoch, or the first of a later one.
    pub fn is_proposed_before(self, next: Zxid) -> bool {
        self.is_right_before(next) || next.epoch() > self.epoch() && next.counter() == 1
    }

    /// Whether `next` may stand behind this in a log: they count by one, and a new epoch starts again at a low counter.
    pub fn is_logged_before(self, next: Zxid) -> bool {
        self.is_right_before(next) || next.epoch() > self.epoch() && next.counter() >= 1
    }

    /// Whether `next` is the one right behind this. For zxids read from files: nothing is behind the highest.
    pub fn is_right_before(self, next: Zxid) -> bool {
        self.0.checked_add(1) == Some(next.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A session id; the high byte is the id of the server that issued it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session yet": asks for a new one in a handshake.
    pub const NONE: SessionId = SessionId(0);

    /// The low byte of the id of the server that issued it.
    pub fn server(self) -> u8 {
        (self.0 as u64 >> 56) as u8
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A client's own number for a request, echoed in the reply; negative values have fixed meanings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Xid(pub i32);

impl Xid {
    /// A watch event pushed by the server.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Every ping reply carries it, whatever the request said (parity X-08).
    pub const PING: Xid = Xid(-2);
}

/// A member of an ensemble: the number in its `myid` and in `server.N` (sid).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection to another member. Those this server dials have even numbers, those it accepts odd ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// A host as written (name, IPv4, or IPv6 without its brackets) and a port; resolved whenever it is dialled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddress {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One client-serving core of this server, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

/// One client connection of one shard. A slot is reused; the generation tells its tenants apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

/// Where an answer goes: the connection that asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    pub shard: ShardId,
    pub conn: ConnId,
}

impl Origin {
    /// Somebody no shard of this server knows: a client of another member.
    pub const ELSEWHERE: Origin =
        Origin { shard: ShardId(u16::MAX), conn: ConnId { slot: u32::MAX, generation: u32::MAX } };
}
