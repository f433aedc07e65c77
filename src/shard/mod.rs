//! Machine one: connections, per-session FIFO, local reads, watch delivery. Lives on: every shard core.
//!
//! ```text
//!   bytes -> input.rs  (words, handshake, frames)  -> serve.rs (reads, watches: answered here)
//!                                                  -> Submit   (writes, sync: to the replica)
//!   mail  -> commit.rs (absorb, fire watches, answer, then whatever waited behind the answer)
//! ```
//!
//! A connection's requests are answered in the order they came. A read behind a write waits in the
//! connection's line as the bytes it arrived in, and is served when the write's answer has been written; a
//! write behind a write is submitted at once, because the way to the replica keeps order.
//!
//! Does not know: sockets, other shards, or whether the replica is across a core boundary.

mod admission;
mod commit;
mod conn;
mod effects;
mod input;
mod report;
mod serve;
mod settings;
mod throttle;
mod warnings;
mod watching;

#[cfg(test)]
mod grid;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Refusal};
pub use effects::{Close, Effects};
pub use settings::Settings;
pub use throttle::{ConnectionThrottle, TokenBucket};

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::BytesMut;

use crate::base::{ConnId, Instant, Now, Origin, SessionId, Zxid, limits};
use crate::mail::metrics::{Counter, Metrics, Summary};
use crate::mail::{Service, Sizes, ToReplica, ToShard};
use crate::tree::Tree;
use crate::watch::{WatchTable, Watcher};
use conn::{Conn, Phase, Slots};
use warnings::Warnings;

/// One client-serving core's state: its connections, their watches, and a read-only replica of the tree.
///
/// The driver calls [`Shard::on_hangup`] once for each connection whose socket is gone, whoever closed it;
/// until then, or until the output of a closed one is empty, its slot is not used again.
pub struct Shard {
    settings: Settings,
    conns: Slots,
    watches: WatchTable,
    tree: Tree,
    /// The last committed zxid this shard has absorbed: what every reply header shows (parity X-04).
    applied: Zxid,
    /// A standalone server lets everybody in from the start, a member of an ensemble when its replica says so.
    service: Service,
    /// Requests in all connections' lines.
    outstanding: usize,
    /// Of those, bytes of large requests (parity W-07).
    large_bytes: usize,
    /// This shard's parts of the server's limits.
    outstanding_share: usize,
    large_bytes_share: usize,
    throttle_share: usize,
    /// Connections whose line is ready to be served but whose output is too full.
    blocked: BTreeSet<ConnId>,
    bucket: TokenBucket,
    /// Connections held back by a limit of the whole shard, first come first served.
    stalled: VecDeque<ConnId>,
    /// Slots that are not read, for whatever reason.
    paused: BTreeSet<u32>,
    heard: Vec<(SessionId, Instant)>,
    /// Number of the report `heard` becomes.
    heard_report: u32,
    /// Where the next slice of the idle check starts.
    sweep_at: u32,
    /// Bodies of submitted requests are cut from it.
    arena: BytesMut,
    hit: Vec<Watcher>,
    event: Vec<u8>,
    stats: ShardStats,
    metrics: Metrics,
    warnings: Warnings,
    /// What [`Shard::output`] lends when the connection is gone.
    nobody: Vec<u8>,
}

/// What `srst` clears beside the metrics.
#[derive(Debug, Default)]
struct ShardStats {
    latency_ms: Summary,
    received: u64,
    sent: u64,
    response_sizes: Sizes,
}

impl Shard {
    /// A shard that serves `tree` (its own index over the shared payloads) as of `applied`.
    pub fn new(settings: Settings, tree: Tree, applied: Zxid, now: Instant) -> Shard {
        let bucket = TokenBucket::new(settings.connection_throttle, settings.shard_count, now);
        Shard {
            outstanding_share: settings.share(settings.outstanding_max as usize),
            large_bytes_share: settings.share(settings.large_requests_bytes_max),
            throttle_share: settings.share(settings.request_throttle_max as usize),
            blocked: BTreeSet::new(),
            conns: Slots::default(),
            watches: WatchTable::new(),
            tree,
            applied,
            service: if settings.serves_from_start { Service::Everybody } else { Service::Nobody },
            settings,
            outstanding: 0,
            large_bytes: 0,
            bucket,
            stalled: VecDeque::new(),
            paused: BTreeSet::new(),
            heard: Vec::new(),
            heard_report: 1,
            sweep_at: 0,
            arena: BytesMut::new(),
            hit: Vec::new(),
            event: Vec::new(),
            stats: ShardStats::default(),
            metrics: Metrics::default(),
            warnings: Warnings::default(),
            nobody: Vec::new(),
        }
    }

    /// A client connected; limits on addresses and totals were checked before (`shard::Admission`).
    pub fn on_accept(&mut self, peer: SocketAddr, now: Now, _out: &mut Effects) -> ConnId {
        self.conns.open(peer, now)
    }

    /// Bytes arrived, in whatever pieces. What cannot be served yet is kept; see [`Shard::wants_input`].
    pub fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Now, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if c.phase == Phase::Closing {
            return;
        }
        c.active = now.mono;
        self.metrics.count_by(Counter::BytesReceivedCount, bytes.len() as u64);
        if !c.input.is_empty() {
            c.input.extend_from_slice(bytes);
            return self.resume_input(conn, now, out);
        }
        let used = self.consume(conn, bytes, now, out);
        if let Some(c) = self.conns.get_mut(conn)
            && c.phase != Phase::Closing
        {
            c.input.extend_from_slice(&bytes[used..]);
        }
        self.update_reading(conn, out);
    }

    /// The peer closed, or the socket failed. The session lives on. Also the end of a connection this shard
    /// closed itself.
    pub fn on_hangup(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(c) = self.conns.get(conn) else { return };
        if c.phase != Phase::Closing {
            self.metrics.count(Counter::ConnectionDropCount);
            self.forget(conn, out);
        }
        self.conns.free(conn);
    }

    pub fn on_mail(&mut self, mail: ToShard, now: Now, out: &mut Effects) {
        match mail {
            ToShard::Batch(entries) => self.on_batch(&entries, now, out),
            ToShard::Serve(service) => self.on_serve(service, out),
            ToShard::Reset(past) => (self.tree, self.applied) = (past.tree, past.zxid),
            ToShard::Survey { ticket, kind } => {
                let report = Box::new(self.report(kind));
                out.mail.push(ToReplica::Surveyed { ticket, shard: self.settings.shard, report });
            }
            ToShard::Report { conn, report, .. } => self.on_report(conn, &report, now, out),
        }
    }

    /// Other clients than before are let in from now on, and those of before are hung up on: what they see next must
    /// come from a server that has a leader, or says that it has none (ZK: a server without one is shut down, its
    /// process lives on). Four-letter words are answered all the same.
    fn on_serve(&mut self, service: Service, out: &mut Effects) {
        self.service = service;
        let clients: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|c| matches!(c.phase, Phase::Connecting { .. } | Phase::Live))
            .map(|c| c.id)
            .collect();
        for conn in clients {
            self.close(conn, false, out);
        }
    }

    /// Time passes; called every [`Shard::TICK_MS`] or so, after every readable socket was read.
    pub fn on_tick(&mut self, now: Now, out: &mut Effects) {
        self.hear_for_the_paused(now.mono);
        let sessions = std::mem::take(&mut self.heard);
        self.heard_report = self.heard_report.wrapping_add(1);
        out.mail.push(ToReplica::Heard { shard: self.settings.shard, sessions, through: now.mono });
        self.sweep(now, out);
        self.release_stalled(now, out);
    }

    /// Bytes waiting to be sent to `conn`. The driver takes them from the front.
    pub fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        match self.conns.get_mut(conn) {
            Some(c) => {
                c.is_dirty = false;
                &mut c.output
            }
            None => {
                self.nobody.clear();
                &mut self.nobody
            }
        }
    }

    /// The driver sent some output; a connection that was paused for it may be read again (`Effects::resume`).
    pub fn on_flushed(&mut self, conn: ConnId, now: Now, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.active = now.mono;
        if !c.output.is_empty() {
            mark_dirty(c, out);
        } else if c.phase == Phase::Closing {
            return self.conns.free(conn);
        }
        if self.blocked.remove(&conn) {
            self.serve_line(conn, limits::CONN_OUTPUT_PAUSE_BYTES, now, out);
        }
        if self.conns.get(conn).is_some_and(|c| !c.is_read) {
            self.resume_input(conn, now, out);
        }
    }

    /// Whether the driver should read from `conn` now. After a `false`, `Effects::resume` says when it may.
    ///
    /// A `false` is remembered: it may be due to what other connections have under way, of which this one
    /// would otherwise never hear again.
    pub fn wants_input(&mut self, conn: ConnId) -> bool {
        let wants = self.conns.get(conn).is_some_and(|c| self.may_read(c));
        if !wants && let Some(c) = self.conns.get_mut(conn).filter(|c| c.is_read && c.phase != Phase::Closing) {
            c.is_read = false;
            self.paused.insert(conn.slot);
        }
        wants
    }

    /// How often the driver should call [`Shard::on_tick`], in milliseconds.
    pub const TICK_MS: u64 = 50;

    /// Kept bytes get another try, and the driver is told if it may read on.
    fn resume_input(&mut self, conn: ConnId, now: Now, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if !c.input.is_empty() {
            let mut input = std::mem::take(&mut c.input);
            let used = self.consume(conn, &input, now, out);
            if let Some(c) = self.conns.get_mut(conn)
                && c.phase != Phase::Closing
                && used < input.len()
            {
                input.drain(..used);
                c.input = input;
            }
        }
        self.update_reading(conn, out);
    }

    /// Whether more may come from the socket. Where too much is under way in the whole shard, no connection is read that
    /// has a part in it (parity W-16); what has been read is taken all the same, or replies would leave in more pieces
    /// than requests came in.
    fn may_read(&self, c: &Conn) -> bool {
        self.may_take(c) && (c.waiting.is_empty() || self.outstanding <= self.outstanding_share)
    }

    /// Whether the next request may be taken from what has been read.
    fn may_take(&self, c: &Conn) -> bool {
        match c.phase {
            Phase::Greeting => true,
            Phase::Live => {
                c.output.len() < limits::CONN_OUTPUT_PAUSE_BYTES
                    && c.waiting.len() < limits::CONN_PENDING_MAX
                    && c.waiting_bytes < PENDING_BYTES_MAX
                    && !c.is_stalled
            }
            Phase::Connecting { .. } | Phase::Asking(_) | Phase::Closing => false,
        }
    }

    fn update_reading(&mut self, conn: ConnId, out: &mut Effects) {
        if self.wants_input(conn)
            && let Some(c) = self.conns.get_mut(conn).filter(|c| !c.is_read)
        {
            c.is_read = true;
            self.paused.remove(&conn.slot);
            out.resume.push(conn);
        }
    }

    /// This connection's session gave a sign of life (parity SE-11).
    fn touch(&mut self, conn: ConnId, now: Instant) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if c.heard_report == self.heard_report {
            self.heard[c.heard_at as usize].1 = now;
        } else {
            (c.heard_report, c.heard_at) = (self.heard_report, self.heard.len() as u32);
            self.heard.push((c.session, now));
        }
    }

    /// A connection this shard does not read cannot be heard, which is not its client's silence. One that is
    /// paused because its client reads nothing is heard when its output moves, and not otherwise.
    fn hear_for_the_paused(&mut self, now: Instant) {
        for slot in self.paused.clone() {
            let Some(c) = self.conns.in_slot(slot) else { continue };
            let is_stuck = c.output.len() >= limits::CONN_OUTPUT_PAUSE_BYTES;
            if c.phase != Phase::Live || (is_stuck && c.active.plus_ms(Self::TICK_MS) < now) {
                continue;
            }
            if !is_stuck {
                c.active = now;
            }
            let conn = c.id;
            self.touch(conn, now);
        }
    }

    /// Closes idle connections (parity W-10, W-11), a slice of the slots at each tick so that every one is
    /// looked at about once a second.
    fn sweep(&mut self, now: Now, out: &mut Effects) {
        const TICKS_A_ROUND: usize = 20;
        let end = self.conns.end() as u32;
        let count = (self.conns.end() / TICKS_A_ROUND + 1) as u32;
        for _ in 0..count.min(end) {
            if self.sweep_at >= end {
                self.sweep_at = 0;
            }
            let slot = self.sweep_at;
            self.sweep_at += 1;
            let granularity = self.settings.sessionless_timeout_ms;
            let Some(c) = self.conns.in_slot(slot) else { continue };
            let conn = c.id;
            match c.phase {
                Phase::Closing if c.output.is_empty() => self.conns.free(conn),
                _ if now.mono.millis() < expires_ms(c, granularity) => {}
                // A client that takes nothing of what it is owed is not waited for.
                Phase::Closing => {
                    out.close.push(Close { conn, abort: true });
                    self.conns.free(conn);
                }
                Phase::Live => self.fault(conn, "no byte moved for the session timeout", false, now, out),
                Phase::Greeting | Phase::Connecting { .. } | Phase::Asking(_) => {
                    self.metrics.count(Counter::SessionlessConnectionsExpired);
                    self.fault(conn, "no session in time", false, now, out);
                }
            }
        }
    }

    /// The client broke a rule, or a limit was reached: the connection ends, and the log says why.
    /// With `abort` what it is still owed is not waited for.
    fn fault(&mut self, conn: ConnId, reason: &'static str, abort: bool, now: Now, out: &mut Effects) {
        if let Some(c) = self.conns.get(conn)
            && c.phase != Phase::Closing
        {
            self.warnings.closed(c.peer, c.session, reason, now.mono);
        }
        self.close(conn, abort, out);
    }

    /// Ends a connection, after its output is sent unless `abort`.
    fn close(&mut self, conn: ConnId, abort: bool, out: &mut Effects) {
        let Some(c) = self.conns.get(conn) else { return };
        if c.phase == Phase::Closing {
            return;
        }
        self.forget(conn, out);
        out.close.push(Close { conn, abort });
        if abort || self.conns.get(conn).is_some_and(|c| c.output.is_empty()) {
            self.conns.free(conn);
        }
    }

    /// Everything but the output is dropped, and the replica hears that nobody waits here any more.
    fn forget(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if matches!(c.phase, Phase::Connecting { .. } | Phase::Live | Phase::Asking(_)) {
            let origin = Origin { shard: self.settings.shard, conn };
            out.mail.push(ToReplica::Gone { origin, session: c.session });
        }
        c.phase = Phase::Closing;
        c.input = Vec::new();
        while let Some(waiting) = c.pop_waiting() {
            self.outstanding -= 1;
            self.large_bytes -= large(&self.settings, waiting.bytes());
        }
        self.watches.forget(conn.slot);
        self.paused.remove(&conn.slot);
        self.blocked.remove(&conn);
    }

    fn origin(&self, conn: ConnId) -> Origin {
        Origin { shard: self.settings.shard, conn }
    }
}

/// Bytes a connection may have waiting behind its own writes, whatever their number.
const PENDING_BYTES_MAX: usize = 4 << 20;

/// What of a request counts against `largeRequestMaxBytes`: all of it, or nothing.
fn large(settings: &Settings, bytes: usize) -> usize {
    match settings.large_request_bytes {
        Some(threshold) if bytes > threshold => bytes,
        _ => 0,
    }
}

fn mark_dirty(c: &mut Conn, out: &mut Effects) {
    if !c.is_dirty {
        c.is_dirty = true;
        out.dirty.push(c.id);
    }
}

/// The monotonic millisecond at which a silent connection is closed: a multiple of the granularity, as
/// ZK's ExpiryQueue rounds (parity W-10, W-11).
fn expires_ms(c: &Conn, granularity_ms: u64) -> u64 {
    let granularity_ms = granularity_ms.max(1);
    let timeout_ms = match c.phase {
        Phase::Live => c.timeout_ms.max(0) as u64,
        _ => granularity_ms,
    };
    ((c.active.millis() + timeout_ms) / granularity_ms + 1) * granularity_ms
}
