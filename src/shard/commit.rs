//! The committed stream: absorb what changed, tell who waits, answer who asked, serve what stood behind.

use super::conn::{Phase, Waiting};
use super::{Effects, Shard, large, mark_dirty};
use crate::base::{ConnId, ErrorCode, Now, SessionId, ShardId, Xid, Zxid, limits, path};
use crate::codec::opcode::OpCode;
use crate::codec::reply::{self, ConnectResponse, EventKind};
use crate::mail::metrics::{Advanced, Counter};
use crate::mail::{Answer, AnswerKind, Body, Entry};
use crate::session;
use crate::tree::{Change, Znode, ZnodeKind};

/// Output at which a connection's line stops being served until some of it is sent. Far above the mark at
/// which reading stops: only reads that pile up behind one write get here.
const LINE_OUTPUT_BYTES: usize = limits::CONN_OUTPUT_MAX_BYTES / 2;

impl Shard {
    /// Steps of the committed stream, in order. For each: events first, then the answer, then the reads that
    /// waited for it, which so see exactly the state after their own write (parity WA-40, W-14).
    pub(super) fn on_batch(&mut self, entries: &[Entry], now: Now, out: &mut Effects) {
        for entry in entries {
            // A read that is late, because its client does not read, must still not see a later write of
            // that client.
            if let Some(Answer { to, kind: AnswerKind::Reply { .. } }) = &entry.answer
                && to.shard == self.settings.shard
                && self.blocked.remove(&to.conn)
            {
                self.serve_line(to.conn, usize::MAX, now, out);
            }
            for change in &entry.changes {
                self.absorb(change, entry.zxid, now, out);
            }
            self.applied = entry.zxid;
            if let Some(answer) = &entry.answer
                && answer.to.shard == self.settings.shard
            {
                self.on_answer(answer, now, out);
            }
        }
        self.release_stalled(now, out);
    }

    fn absorb(&mut self, change: &Change, zxid: Zxid, now: Now, out: &mut Effects) {
        match change {
            Change::Insert { node, .. } => {
                self.tree.absorb(change);
                self.count_write(node, node.data_len());
                self.count_ttl(node, Counter::TtlNodeCreatedCount);
                if !self.watches.is_empty() {
                    self.fire(EventKind::NodeCreated, node.path(), zxid, now, out);
                    self.fire_parent(node.path(), zxid, now, out);
                }
            }
            Change::Remove { node, .. } => {
                if !self.watches.is_empty() {
                    self.fire(EventKind::NodeDeleted, node.path(), zxid, now, out);
                    self.fire_parent(node.path(), zxid, now, out);
                }
                self.tree.absorb(change);
                self.count_write(node, 0);
                self.count_ttl(node, Counter::TtlNodeDeletedCount);
            }
            Change::SetData { node } => {
                self.tree.absorb(change);
                self.count_write(node, node.data_len());
                if !self.watches.is_empty() {
                    self.fire(EventKind::NodeDataChanged, node.path(), zxid, now, out);
                }
            }
            Change::SetAcl { .. }
            | Change::Usage { .. }
            | Change::DefineAcl { .. }
            | Change::ForgetAcl { .. }
            | Change::SessionOpened { .. }
            | Change::SessionClosed { .. } => self.tree.absorb(change),
        }
    }

    fn fire_parent(&mut self, path: &str, zxid: Zxid, now: Now, out: &mut Effects) {
        if let Some(parent) = path::parent(path) {
            self.fire(EventKind::NodeChildrenChanged, parent, zxid, now, out);
        }
    }

    /// Every shard sees every write; the first one counts them.
    fn count_write(&mut self, node: &Znode, data_bytes: usize) {
        if self.settings.shard == ShardId(0) {
            let path = node.path();
            self.metrics.write_per_namespace.add(path::namespace(path), (path.len() + data_bytes) as u64);
        }
    }

    fn count_ttl(&mut self, node: &Znode, counter: Counter) {
        if self.settings.shard == ShardId(0) && matches!(node.kind(self.tree.rules()), ZnodeKind::Ttl(_)) {
            self.metrics.count(counter);
        }
    }

    fn on_answer(&mut self, answer: &Answer, now: Now, out: &mut Effects) {
        let conn = answer.to.conn;
        let Some(phase) = self.conns.get(conn).map(|c| c.phase).filter(|phase| *phase != Phase::Closing) else {
            if matches!(answer.kind, AnswerKind::Reply { .. }) {
                self.metrics.count(Counter::StaleReplies);
            }
            return;
        };
        match (&answer.kind, phase) {
            (AnswerKind::Reply { xid, error, body }, Phase::Live) => self.on_reply(conn, *xid, *error, body, now, out),
            (AnswerKind::Granted { session, timeout_ms }, Phase::Connecting { old_client }) => {
                self.on_granted(conn, *session, *timeout_ms, old_client, now, out);
            }
            (AnswerKind::Refused, Phase::Connecting { old_client }) => self.refuse_handshake(conn, old_client, out),
            (AnswerKind::Behind, Phase::Connecting { .. }) => {
                self.fault(conn, "client has seen a later zxid than this server", false, now, out);
            }
            (AnswerKind::Hangup, _) => self.close(conn, false, out),
            // An answer nobody here can be waiting for. Its sender is our own replica, so this is a bug.
            (kind, phase) => panic!("answer {kind:?} to a connection that is {phase:?}"),
        }
    }

    fn on_granted(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout_ms: i32,
        old_client: bool,
        now: Now,
        out: &mut Effects,
    ) {
        let applied = self.applied;
        let read_only = self.says_read_only(old_client);
        let Some(c) = self.conns.get_mut(conn) else { return };
        let is_new = c.session == SessionId::NONE;
        c.phase = Phase::Live;
        (c.session, c.timeout_ms) = (session, timeout_ms);
        ConnectResponse { timeout_ms, session, password: session::password(session), read_only }.encode(&mut c.output);
        let latency_ms = now.mono.millis_since(c.active);
        c.active = now.mono;
        self.stats.sent += 1;
        c.stats.sent += 1;
        if is_new {
            // A renewed session passes no transaction, so `cons` shows no operation for it.
            c.stats.last_op = super::serve::op_token(OpCode::CreateSession);
            c.stats.last_cxid = 0;
            c.stats.last_zxid = applied.0;
            c.stats.last_response_ms = now.mono.millis();
            c.stats.last_latency_ms = latency_ms;
            c.stats.latency_ms.add(latency_ms);
            self.stats.latency_ms.add(latency_ms);
            self.metrics.sample(Advanced::Updatelatency, latency_ms);
            super::serve::count_op(&mut self.metrics, OpCode::CreateSession);
        }
        mark_dirty(c, out);
        self.resume_input(conn, now, out);
    }

    fn on_reply(&mut self, conn: ConnId, xid: Xid, error: Option<ErrorCode>, body: &Body, now: Now, out: &mut Effects) {
        let applied = self.applied;
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(Waiting::Submitted { xid: asked, op, bytes, arrived }) = c.pop_waiting() else {
            panic!("a reply to {xid:?} for {conn:?}, a connection that waits for none: {body:?}");
        };
        assert_eq!(xid, asked, "replies come in the order of the requests");
        self.outstanding -= 1;
        self.large_bytes -= large(&self.settings, bytes as usize);
        let start = c.output.len();
        reply::reply(&mut c.output, xid, applied, error, |w| match body {
            Body::None => {}
            Body::Path(node) => w.string(node.path()),
            Body::PathStat(node, stat) => {
                w.string(node.path());
                w.stat(stat);
            }
            Body::Stat(stat) => w.stat(stat),
            Body::Encoded(bytes) => w.0.extend_from_slice(bytes),
        });
        let waited_ms = now.mono.millis_since(arrived);
        self.metrics.sample(Advanced::LocalWriteCommittedTimeMs, waited_ms);
        self.metrics.sample(Advanced::WriteCommitprocTimeMs, waited_ms);
        self.finish(conn, xid, op, start, error, arrived, now, out);
        if op == OpCode::CloseSession {
            return self.close(conn, false, out);
        }
        self.serve_line(conn, LINE_OUTPUT_BYTES, now, out);
        self.resume_input(conn, now, out);
    }

    /// Serves what stands at the front of a connection's line and does not wait for the replica, until its
    /// output holds `output_bytes_max`.
    pub(super) fn serve_line(&mut self, conn: ConnId, output_bytes_max: usize, now: Now, out: &mut Effects) {
        while let Some(c) = self.conns.get_mut(conn) {
            match c.waiting.front() {
                None | Some(Waiting::Submitted { .. }) => return,
                Some(_) if c.output.len() >= output_bytes_max => {
                    self.blocked.insert(conn);
                    return;
                }
                Some(_) => {}
            }
            let waiting = c.pop_waiting().expect("seen above");
            self.outstanding -= 1;
            self.large_bytes -= large(&self.settings, waiting.bytes());
            match waiting {
                Waiting::Frame { bytes, arrived } => {
                    self.metrics.sample(Advanced::ReadCommitprocTimeMs, now.mono.millis_since(arrived));
                    self.serve(conn, &bytes, arrived, now, out);
                }
                Waiting::Refused { xid, error } => self.answer_error(conn, xid, error, out),
                Waiting::Submitted { .. } => unreachable!("looked at above"),
            }
        }
    }
}
