//! Requests a shard answers by itself: reads, watches, and everything refused without asking anybody.
//!
//! A read borrows from the frame, the tree and the connection's output, and allocates nothing (a watch it
//! sets is the exception).

use super::conn::Conn;
use super::{Effects, Shard, mark_dirty};
use crate::base::{ConnId, ErrorCode, Instant, Now, Perms, Xid, Zxid, limits, path};
use crate::codec::opcode::OpCode;
use crate::codec::request::{ReadOp, Request, RequestHeader};
use crate::codec::{Reader, Writer, reply};
use crate::mail::metrics::{Advanced, Counter, Metrics};
use crate::tree::auth::AuthRules;
use crate::tree::{AclId, Node, Tree, acl};
use crate::watch::Mode;

/// A `Stat` on the wire, as read_per_namespace counts it (parity ME-61).
const STAT_BYTES: usize = 68;

impl Shard {
    /// Answers a request of this connection whose turn has come. `payload` is its whole frame.
    pub(super) fn serve(&mut self, conn: ConnId, payload: &[u8], arrived: Instant, now: Now, out: &mut Effects) {
        let mut reader = Reader::with_limit(payload, self.settings.field_bytes_max);
        let header = RequestHeader::decode(&mut reader).expect("checked when it arrived");
        let Some(c) = self.conns.get_mut(conn) else { return };
        let start = c.output.len();
        let Some(op) = OpCode::from_i32(header.op).filter(|op| is_for_clients(*op)) else {
            reply::reply(&mut c.output, header.xid, Zxid::NONE, Some(ErrorCode::Unimplemented), |_| {});
            mark_dirty(c, out);
            return self.fault(conn, "unsupported operation", false, now, out);
        };
        let error = match Request::decode(op, reader) {
            // an answer, and the connection lives on.
            Err(_) => self.reply_error(conn, header.xid, ErrorCode::MarshallingError),
            Ok(request) => self.answer(conn, header.xid, request),
        };
        self.finish(conn, header.xid, op, start, error, arrived, now, out);
    }

    fn reply_error(&mut self, conn: ConnId, xid: Xid, error: ErrorCode) -> Option<ErrorCode> {
        let zxid = self.applied;
        if let Some(c) = self.conns.get_mut(conn) {
            reply::reply(&mut c.output, xid, zxid, Some(error), |_| {});
        }
        Some(error)
    }

    fn answer(&mut self, conn: ConnId, xid: Xid, request: Request<'_>) -> Option<ErrorCode> {
        if let Request::SetWatches(lists) = &request {
            self.set_watches(conn, lists);
        }
        let zxid = self.applied;
        let Shard { conns, tree, watches, settings, metrics, .. } = self;
        let c = conns.get_mut(conn)?;
        let view = View { tree, rules: &settings.auth };
        let mut output = std::mem::take(&mut c.output);
        let xid = if matches!(request, Request::Ping) { Xid::PING } else { xid };
        let result = reply_or_error(&mut output, xid, zxid, |w| match request {
            Request::Ping | Request::SetWatches(_) => Ok(()),
            Request::GetData { path, watch } => {
                let node = view.readable(&path, c)?;
                if watch {
                    watches.arm(c.id.slot, key(&path), Mode::Data);
                }
                data_and_stat(w, &node);
                count_read(metrics, &path, node.data().map_or(0, <[u8]>::len));
                Ok(())
            }
            Request::Exists { path, watch } => {
                if path.contains('\0') {
                    return Err(ErrorCode::BadArguments);
                }
                let node = view.readable(&path, c);
                // The only read whose watch outlives a failure: absence is what it waits for (WA-12).
                if watch && !matches!(node, Err(ErrorCode::NoAuth)) && (node.is_ok() || path::is_valid(&path)) {
                    watches.arm(c.id.slot, key(&path), Mode::Data);
                }
                w.stat(&node?.stat());
                count_read(metrics, &path, 0);
                Ok(())
            }
            Request::GetChildren { path, watch, with_stat } => {
                let node = view.readable(&path, c)?;
                if watch {
                    watches.arm(c.id.slot, key(&path), Mode::Child);
                }
                let bytes = children(w, tree, &node);
                if with_stat {
                    w.stat(&node.stat());
                }
                count_read(metrics, &path, bytes);
                Ok(())
            }
            Request::GetAcl { path } => {
                let node = tree.get(&path).ok_or(ErrorCode::NoNode)?;
                if !view.permits(&node, c, Perms::READ | Perms::ADMIN) {
                    return Err(ErrorCode::NoAuth);
                }
                if view.permits(&node, c, Perms::ADMIN) {
                    w.acl(node.acl());
                } else {
                    w.acl(&acl::redact(node.acl()));
                }
                w.stat(&node.stat());
                Ok(())
            }
            Request::GetAllChildrenNumber { path } => {
                let node = view.readable(&path, c)?;
                w.i32(tree.descendant_count(&node) as i32);
                Ok(())
            }
            Request::GetEphemerals { prefix } => {
                let prefix = prefix.as_deref().unwrap_or_default().trim_matches(|c: char| c <= ' ');
                let prefix = if prefix == "/" { "" } else { prefix };
                let found = || tree.ephemerals_of(c.session).filter(|path| path.starts_with(prefix));
                w.i32(found().count() as i32);
                found().for_each(|path| w.string(path));
                Ok(())
            }
            Request::WhoAmI => {
                w.i32(c.ids.len() as i32);
                for id in c.ids.iter() {
                    w.string(&id.scheme);
                    w.string(match &*id.scheme {
                        "digest" => id.id.split_once(':').map_or(&*id.id, |(user, _)| user),
                        "super" => "",
                        _ => &id.id,
                    });
                }
                Ok(())
            }
            Request::MultiRead(ops) => {
                for op in &ops {
                    view.multi_read(w, op, c);
                }
                reply::multi_end(w);
                Ok(())
            }
            Request::AddWatch { path, mode } => {
                let mode = match mode {
                    0 => Mode::Persistent,
                    1 => Mode::Recursive,
                    _ => return Err(ErrorCode::MarshallingError),
                };
                if !path::is_valid(&path) {
                    return Err(ErrorCode::BadArguments);
                }
                watches.arm(c.id.slot, &path, mode);
                w.i32(0);
                Ok(())
            }
            Request::CheckWatches { path, kind } => super::watching::check(watches, c.id.slot, key(&path), kind),
            Request::RemoveWatches { path, kind } => super::watching::remove(watches, c.id.slot, key(&path), kind),
            // Writes that decode went to the replica, auth and sasl were answered when they were read.
            Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Sync { .. }
            | Request::Multi(_)
            | Request::Reconfig
            | Request::CloseSession
            | Request::Auth { .. }
            | Request::Sasl { .. } => Err(ErrorCode::MarshallingError),
        });
        c.output = output;
        result.err()
    }

    /// The bookkeeping of one answered request; `start` is where its reply begins in the output.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn finish(
        &mut self,
        conn: ConnId,
        xid: Xid,
        op: OpCode,
        start: usize,
        error: Option<ErrorCode>,
        arrived: Instant,
        now: Now,
        out: &mut Effects,
    ) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let latency_ms = now.mono.millis_since(arrived);
        // As ever in ZooKeeper's numbers, without the four bytes of the length.
        let bytes = (c.output.len() - start).saturating_sub(4);
        self.stats.sent += 1;
        self.stats.latency_ms.add(latency_ms);
        self.stats.response_sizes.add(bytes);
        self.metrics.count_by(Counter::ResponseBytes, bytes as u64);
        let latency =
            if op.goes_to_replica() && op != OpCode::Sync { Advanced::Updatelatency } else { Advanced::Readlatency };
        self.metrics.sample(latency, latency_ms);
        if error.is_none() {
            count_op(&mut self.metrics, op);
        }
        let stats = &mut c.stats;
        stats.sent += 1;
        stats.last_op = op_token(op);
        if xid.0 >= 0 {
            stats.last_cxid = i64::from(xid.0);
        }
        stats.last_zxid = self.applied.0;
        stats.last_response_ms = now.mono.millis();
        stats.last_latency_ms = latency_ms;
        stats.latency_ms.add(latency_ms);
        mark_dirty(c, out);
        if c.output.len() > limits::CONN_OUTPUT_MAX_BYTES {
            self.fault(conn, "client does not read its replies", true, now, out);
        }
    }
}

/// What a read may look at.
struct View<'a> {
    tree: &'a Tree,
    rules: &'a AuthRules,
}

impl<'a> View<'a> {
    /// The znode, if it is there (else NoNode) and this connection may read it (else NoAuth).
    fn readable(&self, path: &str, c: &Conn) -> Result<Node<'a>, ErrorCode> {
        let node = self.tree.get(path).ok_or(ErrorCode::NoNode)?;
        if self.permits(&node, c, Perms::READ) { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    fn permits(&self, node: &Node<'a>, c: &Conn, wanted: i32) -> bool {
        node.acl_id() == AclId::OPEN || acl::permits(node.acl(), &c.ids, wanted, self.rules)
    }

    /// One slot of a multiRead (parity MU-08, MU-11).
    fn multi_read(&self, w: &mut Writer<'_>, op: &ReadOp<'_>, c: &Conn) {
        let (ReadOp::GetData { path } | ReadOp::GetChildren { path }) = op;
        match (self.readable(path, c), op) {
            (Ok(node), ReadOp::GetData { .. }) => {
                reply::multi_header(w, OpCode::GetData.code(), 0);
                data_and_stat(w, &node);
            }
            (Ok(node), ReadOp::GetChildren { .. }) => {
                reply::multi_header(w, OpCode::GetChildren.code(), 0);
                children(w, self.tree, &node);
            }
            (Err(error), _) => {
                reply::multi_header(w, -1, error.code());
                w.i32(error.code());
            }
        }
    }
}

/// One framed reply whose body is written in place, and taken back if writing it ends in an error.
fn reply_or_error(
    out: &mut Vec<u8>,
    xid: Xid,
    zxid: Zxid,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), ErrorCode>,
) -> Result<(), ErrorCode> {
    let start = out.len();
    let mut result = Ok(());
    reply::framed(out, |w| {
        reply::header(w, xid, zxid, None);
        result = body(w);
    });
    if let Err(error) = result {
        out.truncate(start);
        reply::reply(out, xid, zxid, Some(error), |_| {});
    }
    result
}

fn data_and_stat(w: &mut Writer<'_>, node: &Node<'_>) {
    w.buffer(node.data());
    w.stat(&node.stat());
}

/// Writes the names; returns their bytes.
fn children(w: &mut Writer<'_>, tree: &Tree, node: &Node<'_>) -> usize {
    w.i32(node.num_children() as i32);
    let mut bytes = 0;
    for name in tree.children(node) {
        w.string(name);
        bytes += name.len();
    }
    bytes
}

/// The name a watch is kept under: the root has an alias, but events know it as "/".
fn key(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn count_read(metrics: &mut Metrics, path: &str, bytes: usize) {
    metrics.read_per_namespace.add(path::namespace(path), (path.len() + bytes + STAT_BYTES) as u64);
}

/// Operations a client may ask for at top level. deleteContainer and createSession are refused though the
/// reference takes them (parity UB-01, UB-02).
fn is_for_clients(op: OpCode) -> bool {
    !matches!(op, OpCode::Check | OpCode::DeleteContainer | OpCode::CreateSession | OpCode::Error)
}

/// ZooKeeper's token for `cons` (parity FL-44).
pub(super) fn op_token(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Error | OpCode::Auth | OpCode::Sasl => "NA",
    }
}

/// op_count_* (parity ME-57, ME-70).
pub(super) fn count_op(metrics: &mut Metrics, op: OpCode) {
    metrics.count(Counter::OpCountTotal);
    metrics.count(match op {
        OpCode::AddWatch => Counter::OpCountAddWatch,
        OpCode::Check => Counter::OpCountCheck,
        OpCode::CheckWatches => Counter::OpCountCheckWatches,
        OpCode::CloseSession => Counter::OpCountCloseSession,
        OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => Counter::OpCountCreate,
        OpCode::CreateSession => Counter::OpCountCreateSession,
        OpCode::Delete | OpCode::DeleteContainer => Counter::OpCountDelete,
        OpCode::Exists => Counter::OpCountExists,
        OpCode::GetAcl => Counter::OpCountGetAcl,
        OpCode::GetAllChildrenNumber => Counter::OpCountGetAllChildrenNumber,
        OpCode::GetChildren | OpCode::GetChildren2 => Counter::OpCountGetChildren,
        OpCode::GetData => Counter::OpCountGetData,
        OpCode::GetEphemerals => Counter::OpCountGetEphemerals,
        OpCode::Multi => Counter::OpCountMulti,
        OpCode::MultiRead => Counter::OpCountMultiRead,
        OpCode::Ping => Counter::OpCountPing,
        OpCode::Reconfig => Counter::OpCountReconfig,
        OpCode::RemoveWatches => Counter::OpCountRemoveWatches,
        OpCode::SetAcl => Counter::OpCountSetAcl,
        OpCode::SetData => Counter::OpCountSetData,
        OpCode::SetWatches | OpCode::SetWatches2 => Counter::OpCountSetWatches,
        OpCode::Sync => Counter::OpCountSync,
        OpCode::WhoAmI => Counter::OpCountWhoAmI,
        OpCode::Error | OpCode::Auth | OpCode::Sasl => return,
    });
}
