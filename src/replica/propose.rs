//! From a submitted request to a proposal: judged, applied to the tree that runs ahead, appended to the journal.

use std::borrow::Cow;

use super::forwarding::Asker;
use super::{Effects, Replica};
use crate::base::{ErrorCode, Now, SessionId, WallMs, Xid, Zxid};
use crate::codec::opcode::OpCode;
use crate::codec::request::Request;
use crate::codec::txn::{self, Txn, TxnDigest, TxnHeader};
use crate::codec::{Malformed, Reader, Writer};
use crate::mail::{Answer, AnswerKind, Body, Changes, Entry, Service, Submit};
use crate::prep::Judge;
use crate::tree::Change;

impl Replica {
    pub(super) fn on_submit(&mut self, submit: Submit, now: Now, out: &mut Effects) {
        if self.failed || self.service() == Service::Nobody {
            return; // The connection is being closed; an unanswered request is an honest "maybe".
        }
        self.watch.on_request();
        let is_left = self
            .ensemble
            .as_ref()
            .is_some_and(|it| it.forwarding.is_left(submit.session, Asker::Client(submit.origin)));
        if is_left || self.client_of(submit.session) != Some(submit.origin) {
            // Expired, closed, or moved to another connection (parity SE-21): no answer, an end.
            return self.hang_up(submit.origin, out);
        }
        if submit.op == OpCode::CloseSession && self.local.is_local(submit.session) {
            return self.close_local(&submit, now, out);
        }
        if self.service() == Service::ReadOnly {
            // A shard that knows submits nothing else; one that does not know yet is about to hang up on this client.
            return self.hang_up(submit.origin, out);
        }
        let refusal = self.upgrade_for(&submit, now, out);
        if self.orders() { self.order(&submit, now, out) } else { self.forward(submit, refusal, now, out) }
    }

    /// Judges a request and proposes what it comes to.
    pub(super) fn order(&mut self, submit: &Submit, now: Now, out: &mut Effects) {
        let request = match Request::decode(submit.op, Reader::new(&submit.body)) {
            Ok(request) => request,
            Err(malformed) => return self.refuse(submit, code_of(submit.op, malformed), now),
        };
        match request {
            Request::Sync { .. } => self.sync(submit, now, out),
            Request::CloseSession => self.close_session(submit.session, submit.xid, now),
            Request::Multi(ops) => self.propose_multi(submit, &ops, now),
            // A lone server has nobody to reconfigure with, even where the operation is enabled (parity OPE-18).
            Request::Reconfig if self.settings.reconfig_enabled => self.refuse(submit, ErrorCode::Unimplemented, now),
            Request::Reconfig => self.refuse(submit, ErrorCode::ReconfigDisabled, now),
            request => {
                let ephemerals = self.may_own_ephemerals(submit.session);
                let judge = Judge { tree: &self.tree, rules: &self.settings.rules, ids: &submit.ids, ephemerals };
                match judge.judge(&request) {
                    Some(Ok(txn)) => self.propose_one(submit, &txn, now),
                    Some(Err(code)) => self.refuse(submit, code, now),
                    None => self.refuse(submit, ErrorCode::Unimplemented, now),
                }
            }
        }
    }

    /// A single operation that passed its judgement.
    fn propose_one(&mut self, submit: &Submit, txn: &Txn<'_>, now: Now) {
        let header = self.next_header(submit.session, submit.xid, now.wall);
        let mut changes = Changes::new();
        if let Err(code) = self.tree.apply(&header, txn, &mut changes) {
            // The judgement said it would apply; a tree that disagrees with it must not be served any longer.
            panic!("{} was judged legal but does not apply: {code:?} {txn:?}", header.zxid);
        }
        let body = self.reply_body(submit.op, &changes);
        self.log(&header, txn, self.digest(), now);
        self.wait(header.zxid, changes, Some(reply(submit, None, body)));
    }

    /// A failed write consumes its zxid and is logged like any other, without a digest (parity ZN-65).
    pub(super) fn refuse(&mut self, submit: &Submit, code: ErrorCode, now: Now) {
        let header = self.next_header(submit.session, submit.xid, now.wall);
        self.log(&header, &Txn::Error { code: code.code() }, None, now);
        self.wait(header.zxid, Changes::new(), Some(reply(submit, Some(code), Body::None)));
    }

    /// Proposes what this server wants itself: session ends, reaped containers. Nobody waits for the reply.
    pub(super) fn propose_own(&mut self, session: SessionId, cxid: Xid, txn: &Txn<'_>, now: Now) -> (Zxid, Changes) {
        let header = self.next_header(session, cxid, now.wall);
        let mut changes = Changes::new();
        if let Err(code) = self.tree.apply(&header, txn, &mut changes) {
            panic!("{} is this server's own and does not apply: {code:?} {txn:?}", header.zxid);
        }
        self.log(&header, txn, self.digest(), now);
        (header.zxid, changes)
    }

    pub(super) fn next_header(&mut self, session: SessionId, cxid: Xid, time: WallMs) -> TxnHeader {
        self.last_proposed = self.last_proposed.next();
        TxnHeader { session, cxid, zxid: self.last_proposed, time }
    }

    pub(super) fn log(&mut self, header: &TxnHeader, txn: &Txn<'_>, digest: Option<TxnDigest>, now: Now) {
        if self.ensemble.is_some() {
            // One encoding for followers and disk.
            let record = self.records.bytes(|record| txn::encode(record, header, txn, digest));
            self.journal.append(header.zxid, |bytes| bytes.extend_from_slice(&record));
            self.proposals.push((header.zxid, record));
        } else {
            self.journal.append(header.zxid, |record| txn::encode(record, header, txn, digest));
        }
        self.snapshots.on_record();
        self.watch.on_record(now);
        self.watch.note_digest(header.zxid, self.tree.digest());
    }

    pub(super) fn wait(&mut self, zxid: Zxid, changes: Changes, answer: Option<Answer>) {
        self.waiting.push(Entry { zxid, changes, answer });
    }

    /// What the client of a successful `op` reads. The changed znode is the first that changes; a quota's
    /// usage comes after it.
    pub(super) fn reply_body(&self, op: OpCode, changes: &Changes) -> Body {
        let node = changes.iter().find_map(|change| match change {
            Change::Insert { node, .. } | Change::SetData { node } | Change::SetAcl { node } => Some(node),
            _ => None,
        });
        let Some(node) = node else { return Body::None };
        let stat = || self.tree.current(node).map(|found| found.stat()).unwrap_or_default();
        match op {
            OpCode::Create => Body::Path(node.clone()),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => Body::PathStat(node.clone(), stat()),
            OpCode::SetData | OpCode::SetAcl => Body::Stat(stat()),
            _ => Body::None,
        }
    }

    /// Deletes containers and TTL nodes that nobody uses, a few at a time.
    pub(super) fn reap(&mut self, now: Now) {
        if !self.orders() {
            return;
        }
        for path in self.reaper.due(&self.tree, now) {
            let rules = &self.settings.rules;
            let judge = Judge { tree: &self.tree, rules, ids: &[], ephemerals: Ok(()) };
            // Judged again: between the scan and now it may have got a child.
            if let Ok(Txn::Delete { .. }) = judge.delete_container(&path) {
                let txn = Txn::Delete { path: Cow::Owned(path.into_string()), container: true };
                let (zxid, changes) = self.propose_own(SessionId::NONE, Xid::default(), &txn, now);
                self.wait(zxid, changes, None);
            }
        }
    }
}

/// What the reference makes of a request it trips over after it has numbered it: a path that is null is a bad
/// one where paths are validated first.
fn code_of(op: OpCode, malformed: Malformed) -> ErrorCode {
    match op {
        OpCode::SetData | OpCode::SetAcl if malformed == Malformed::NULL_STRING => ErrorCode::BadArguments,
        _ => ErrorCode::MarshallingError,
    }
}

/// `sync` answers with the path it was asked for, even a null one.
pub(super) fn sync_echo(body: &[u8]) -> Body {
    let path = Reader::new(body).string_or_null().ok().flatten();
    let mut echo = Vec::new();
    match path {
        Some(path) => Writer(&mut echo).string(&path),
        None => Writer(&mut echo).buffer(None),
    }
    Body::Encoded(echo.into())
}

pub(super) fn reply(submit: &Submit, error: Option<ErrorCode>, body: Body) -> Answer {
    Answer { to: submit.origin, kind: AnswerKind::Reply { xid: submit.xid, error, body } }
}
