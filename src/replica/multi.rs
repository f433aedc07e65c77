//! multi: many operations, one zxid, all or nothing (parity 1.7).
//!
//! Each operation is judged and applied in turn, so the next sees its effect; a savepoint in the tree takes
//! everything back when one fails. ZK: PrepRequestProcessor.pRequestHelper, case multi.

use super::Replica;
use super::propose::reply;
use crate::base::{ErrorCode, Now};
use crate::codec::opcode::OpCode;
use crate::codec::reply::{multi_end, multi_header};
use crate::codec::request::MultiOp;
use crate::codec::txn::{CreateKind, Txn, TxnHeader};
use crate::codec::{Writer, reply as wire};
use crate::mail::{Body, Changes, Submit};
use crate::prep::Judge;

impl Replica {
    pub(super) fn propose_multi(&mut self, submit: &Submit, ops: &[MultiOp<'_>], now: Now) {
        let header = self.next_header(submit.session, submit.xid, now.wall);
        self.tree.savepoint();
        let mut changes = Changes::new();
        let mut slots = Vec::with_capacity(64 * ops.len());
        let mut txns = Vec::with_capacity(ops.len());
        let mut failed = None;
        let ephemerals = self.may_own_ephemerals(submit.session);
        for op in ops {
            let judge = Judge { tree: &self.tree, rules: &self.settings.rules, ids: &submit.ids, ephemerals };
            match judge.judge_op(op) {
                Ok(txn) => {
                    self.apply_slot(&header, &txn, &mut changes, &mut slots);
                    txns.push(txn);
                }
                Err(code) => {
                    failed = Some(code);
                    break;
                }
            }
        }
        if let Some(code) = failed {
            self.tree.rollback();
            changes.clear();
            slots.clear();
            // The slots before the one that failed keep their operation in the log, as the reference has it.
            encode_failed_slots(&mut slots, txns.len(), code, ops.len());
            txns.push(Txn::Error { code: code.code() });
            txns.resize_with(ops.len(), || Txn::Error { code: ErrorCode::RuntimeInconsistency.code() });
        } else {
            self.tree.release();
        }
        multi_end(&mut Writer(&mut slots));
        self.log(&header, &Txn::Multi(txns), self.digest(), now);
        self.wait(header.zxid, changes, Some(reply(submit, None, Body::Encoded(slots.into()))));
    }

    /// Applies a multi that the leader has judged; its reply. `refusal`: what is known here of a session that the leader
    /// does not know.
    pub(super) fn apply_multi(
        &mut self,
        header: &TxnHeader,
        ops: &[Txn<'_>],
        refusal: Option<ErrorCode>,
        changes: &mut Changes,
    ) -> Body {
        let mut slots = Vec::with_capacity(64 * ops.len());
        let failed = ops.iter().enumerate().find_map(|(at, op)| match op {
            Txn::Error { code } if *code != 0 => {
                Some((at, ErrorCode::from_code(*code).unwrap_or(ErrorCode::RuntimeInconsistency)))
            }
            _ => None,
        });
        match failed {
            Some((at, code)) => {
                let known = refusal.filter(|_| code == ErrorCode::SessionExpired);
                encode_failed_slots(&mut slots, at, known.unwrap_or(code), ops.len());
            }
            None => ops.iter().for_each(|op| self.apply_slot(header, op, changes, &mut slots)),
        }
        multi_end(&mut Writer(&mut slots));
        Body::Encoded(slots.into())
    }

    /// Applies one operation and encodes its slot of the reply, which shows the stat at that very moment.
    fn apply_slot(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Changes, slots: &mut Vec<u8>) {
        if !matches!(txn, Txn::Check { .. })
            && let Err(code) = self.tree.apply(header, txn, changes)
        {
            panic!("{} was judged legal but does not apply: {code:?} {txn:?}", header.zxid);
        }
        let w = &mut Writer(slots);
        match txn {
            Txn::Create { kind, path, .. } => {
                let plain = matches!(kind, CreateKind::Plain { two: false, .. });
                // Every create but the plain one answers in create2's shape (parity MU-08).
                let op = if plain { OpCode::Create } else { OpCode::Create2 };
                wire::multi_header(w, op.code(), 0);
                w.string(path);
                if !plain {
                    self.write_stat(path, w);
                }
            }
            Txn::SetData { path, .. } => {
                wire::multi_header(w, OpCode::SetData.code(), 0);
                self.write_stat(path, w);
            }
            _ => wire::multi_header(w, txn.type_code(), 0),
        }
    }

    fn write_stat(&self, path: &str, w: &mut Writer<'_>) {
        w.stat(&self.tree.get(path).map(|node| node.stat()).unwrap_or_default());
    }
}

/// Parity MU-09: zeros before the failing slot, its code, then "runtime inconsistency" for the rest.
fn encode_failed_slots(slots: &mut Vec<u8>, failed_at: usize, code: ErrorCode, count: usize) {
    let w = &mut Writer(slots);
    for slot in 0..count {
        let code = match slot.cmp(&failed_at) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code.code(),
            std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
        };
        multi_header(w, OpCode::Error.code(), code);
        w.i32(code);
    }
}
