//! Machine one: connections, per-session FIFO, local reads, watch delivery. Lives on: every shard core.
//!
//! Does not know: sockets, other shards, or whether the replica is across a core boundary.

mod effects;

pub use effects::{Close, Effects};

use std::net::SocketAddr;

use crate::base::{ConnId, Now};
use crate::mail::ToShard;

/// One client-serving core's state: its connections, their watches, and a read-only replica of the tree.
pub struct Shard {}

impl Shard {
    /// A client connected; limits on addresses and totals were checked before (`shard::Admission`).
    pub fn on_accept(&mut self, _peer: SocketAddr, _now: Now, _out: &mut Effects) -> ConnId {
        todo!()
    }

    /// Bytes arrived, in whatever pieces. What cannot be served yet is kept; see [`Shard::wants_input`].
    pub fn on_bytes(&mut self, _conn: ConnId, _bytes: &[u8], _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// The peer closed, or the socket failed. The session lives on.
    pub fn on_hangup(&mut self, _conn: ConnId, _out: &mut Effects) {
        todo!()
    }

    pub fn on_mail(&mut self, _mail: ToShard, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// Time passes; called every [`Shard::TICK_MS`] or so, after every readable socket was read.
    pub fn on_tick(&mut self, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// Bytes waiting to be sent to `conn`. The driver takes them from the front.
    pub fn output(&mut self, _conn: ConnId) -> &mut Vec<u8> {
        todo!()
    }

    /// The driver sent some output; a connection that was paused for it may be read again (`Effects::resume`).
    pub fn on_flushed(&mut self, _conn: ConnId, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// Whether the driver should read from `conn` now. When it turns true again, `Effects::resume` says so.
    pub fn wants_input(&self, _conn: ConnId) -> bool {
        todo!()
    }

    /// How often the driver should call [`Shard::on_tick`], in milliseconds.
    pub const TICK_MS: u64 = 50;
}
