//! The commit order, read off the journal's batches as they leave the machine, and judged record by record.

use std::collections::BTreeMap;

use super::client::Op;
use super::disk::records;
use super::judge;
use super::model::Model;
use crate::base::Id;
use crate::codec::txn::{self, DIGEST_VERSION, Txn};
use crate::journal::Batch;

/// A write that a client sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub op: Op,
    /// Who asked.
    pub ids: Vec<Id>,
}

/// Everything proposed, and by whom.
pub struct Commits {
    pub model: Model,
    /// (session, cxid) to zxid, of what clients asked for.
    pub ledger: BTreeMap<(i64, i32), i64>,
    /// Writes clients sent, by (session, xid).
    pub sent: BTreeMap<(i64, i32), Sent>,
    last_xid: BTreeMap<i64, (i64, i32)>,
    pub extended_types: bool,
    /// Containers that never had a child are reaped at this age; `None`: never.
    pub never_used_ms: Option<i64>,
}

/// A session's end that no client asked for.
pub struct Expired {
    pub session: i64,
}

impl Commits {
    pub fn new(extended_types: bool, never_used_ms: Option<i64>) -> Commits {
        Commits {
            model: Model::new(),
            ledger: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_xid: BTreeMap::new(),
            extended_types,
            never_used_ms,
        }
    }

    /// Takes in a batch. Returns the sessions it ends unasked.
    pub fn on_batch(&mut self, batch: &Batch) -> Result<Vec<Expired>, String> {
        let mut expired = Vec::new();
        let bodies = records(&batch.bytes)?;
        if bodies.len() != batch.record_count as usize {
            return Err(format!("a batch of {} records claims {}", bodies.len(), batch.record_count));
        }
        for body in bodies {
            let entry = txn::decode(body).map_err(|error| error.to_string())?;
            let (header, digest, txn) = (entry.header, entry.digest, entry.txn.into_owned());
            let shown = format!("{header:?} {txn:?}");
            self.judge(&header, &txn, &mut expired).map_err(|why| format!("{shown}: {why}"))?;
            let lone_error = matches!(txn, Txn::Error { .. });
            self.model.apply(header, txn).map_err(|why| format!("{shown}: {why}"))?;
            match digest {
                Some(digest) if digest.version == DIGEST_VERSION && digest.tree == self.model.digest() => {}
                None if lone_error => {}
                told => {
                    return Err(format!("{shown}: digest {told:?}, due was {} (invariant 42)", self.model.digest()));
                }
            }
        }
        if batch.through.0 != self.model.last() {
            return Err(format!("a batch through {} ends at {:#x}", batch.through, self.model.last()));
        }
        Ok(expired)
    }

    fn judge(&mut self, header: &txn::TxnHeader, txn: &Txn<'_>, expired: &mut Vec<Expired>) -> Result<(), String> {
        let (session, xid) = (header.session.0, header.cxid.0);
        match txn {
            Txn::CreateSession { .. } => return Ok(()),
            Txn::CloseSession { .. } if xid == 0 => {
                expired.push(Expired { session });
                return Ok(());
            }
            Txn::Delete { path, container: true } => return self.judge_reaping(path, header.time.0),
            _ => {}
        }
        let Some(sent) = self.sent.get(&(session, xid)) else {
            return Err("nobody asked for it (invariants 20, 48)".into());
        };
        if self.model.session(session).is_none() {
            return Err("its session does not live (invariant 18)".into());
        }
        if let Some(before) = self.ledger.insert((session, xid), header.zxid.0) {
            return Err(format!("it was done at {before:#x} already (invariant 1)"));
        }
        let (_, last) = self.last_xid.get(&session).copied().unwrap_or_default();
        if xid <= last {
            return Err(format!("it comes after xid {last} of its session (invariant 6)"));
        }
        self.last_xid.insert(session, (header.zxid.0, xid));
        let (op, ids) = (sent.op.clone(), sent.ids.clone());
        let due = judge::expected(&mut self.model, header, &op, &ids, self.extended_types);
        match due {
            Some(due) if same_txn(&due, txn) => Ok(()),
            due => Err(format!("{op:?} of {ids:?} should have become {due:?} (invariants 1, 11, 12, 13)")),
        }
    }

    fn judge_reaping(&self, path: &str, wall_ms: i64) -> Result<(), String> {
        let node = self.model.node(path).ok_or("reaped, but it does not exist")?;
        let age = wall_ms - node.mtime;
        let unused = match (node.is_container(), node.ttl()) {
            (true, _) if node.cversion > 0 => true,
            (true, _) => self.never_used_ms.is_some_and(|limit| age > limit),
            (_, Some(ttl)) => age > ttl,
            _ => false,
        };
        if unused && node.children.is_empty() { Ok(()) } else { Err(format!("reaped, but it is {node:?}")) }
    }

    /// A crash took what came after `zxid`.
    pub fn rewind(&mut self, zxid: i64) {
        self.model.rewind(zxid, None);
        self.ledger.retain(|_, at| *at <= zxid);
        self.last_xid.clear();
        for ((session, xid), at) in &self.ledger {
            self.last_xid.insert(*session, (*at, *xid));
        }
    }
}

/// The list of a closeSession is a set.
fn same_txn(due: &Txn<'_>, told: &Txn<'_>) -> bool {
    match (due, told) {
        (Txn::CloseSession { ephemerals: Some(due) }, Txn::CloseSession { ephemerals: Some(told) }) => {
            let mut told: Vec<&str> = told.iter().map(|path| &**path).collect();
            told.sort_unstable();
            told.len() == due.len() && told.iter().zip(due).all(|(told, due)| told == due)
        }
        _ => due == told,
    }
}
