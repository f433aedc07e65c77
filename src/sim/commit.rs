//! The commit order, read off the journal's batches as they leave the machine, and judged record by record.

use std::collections::{BTreeMap, BTreeSet};

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
    /// By which connection.
    pub link: u64,
    /// Sent behind a handshake that was not answered yet.
    pub early: bool,
}

/// Everything proposed, and by whom.
pub struct Commits {
    pub model: Model,
    /// (session, cxid) to zxid, of what clients asked for.
    pub ledger: BTreeMap<(i64, i32), i64>,
    /// Writes clients sent, by (session, xid).
    pub sent: BTreeMap<(i64, i32), Sent>,
    /// The highest xid of each session that was committed.
    last_xid: BTreeMap<i64, i32>,
    /// The connection that asked for each session's last write, with its xid, and those that did before it.
    writer: BTreeMap<i64, (u64, i32)>,
    left: BTreeSet<u64>,
    /// Sessions that have had more than one connection: of what the others asked, a leader may say SESSIONMOVED.
    pub came_back: BTreeSet<i64>,
    pub extended_types: bool,
    /// Containers that never had a child are reaped at this age; `None`: never.
    pub never_used_ms: Option<i64>,
}

const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;

/// A session's end that no client asked for.
pub struct Expired {
    pub session: i64,
}

impl Commits {
    pub fn new(extended_types: bool, never_used_ms: Option<i64>, quotas: bool) -> Commits {
        let mut model = Model::new();
        model.quotas = quotas;
        Commits {
            model,
            ledger: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_xid: BTreeMap::new(),
            writer: BTreeMap::new(),
            left: BTreeSet::new(),
            came_back: BTreeSet::new(),
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
            if entry.header.zxid.epoch() != 0 {
                return Err(format!("{:?}: a lone server has no epochs", entry.header));
            }
            expired.extend(self.on_txn(entry)?);
        }
        if batch.through.0 != self.model.last() {
            return Err(format!("a batch through {} ends at {:#x}", batch.through, self.model.last()));
        }
        Ok(expired)
    }

    /// Takes in the next transaction of the commit order. Returns the session it ends unasked.
    pub fn on_txn(&mut self, entry: txn::Entry<'_>) -> Result<Option<Expired>, String> {
        let (header, digest, txn) = (entry.header, entry.digest, entry.txn.into_owned());
        let mut expired = Vec::new();
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
        Ok(expired.pop())
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
            // A learner passes on what was asked before it knew of the session's end; the leader says no.
            if matches!(txn, Txn::Error { code: SESSION_EXPIRED }) {
                return Ok(());
            }
            return Err("its session does not live (invariant 18)".into());
        }
        if let Some(before) = self.ledger.insert((session, xid), header.zxid.0) {
            return Err(format!("it was done at {before:#x} already (invariant 1)"));
        }
        // Refused for who asked it, not for what was asked: it has no effect, and no place in the session's order.
        if matches!(txn, Txn::Error { code: SESSION_MOVED }) {
            return match self.came_back.contains(&session) {
                true => Ok(()),
                false => Err("its session has never been anywhere else (invariant 15)".into()),
            };
        }
        let (op, ids) = (sent.op.clone(), sent.ids.clone());
        // Whose connection asks for the end of a session does not matter to a leader (as the reference's): one who
        // asked for it, and came back by another connection, may find it ended later on.
        let is_late_end = matches!(op, Op::CloseSession)
            && self.writer.get(&session).is_some_and(|(link, last)| *link != sent.link && *last > xid);
        if !is_late_end {
            self.judge_order(session, xid, sent.link, sent.early)?;
        }
        let due = judge::expected(&mut self.model, header, &op, &ids, self.extended_types);
        match due {
            Some(due) if same_txn(&due, txn) => Ok(()),
            due => Err(format!("{op:?} of {ids:?} should have become {due:?} (invariants 1, 11, 12, 13)")),
        }
    }

    /// A session's writes are committed in the order in which its client asked for them (invariant 6).
    ///
    /// One excuse: a client that gives a connection up before its handshake was answered, and comes back by
    /// another, does not know which of the two the server hears first. If the one given up is heard last, the
    /// session is its, and so are the writes sent behind its handshake: no server can tell that they are older.
    /// (Which is why a real library sends none before the answer.) Even so each connection keeps its own order,
    /// and one that lost the session never writes again.
    fn judge_order(&mut self, session: i64, xid: i32, link: u64, early: bool) -> Result<(), String> {
        let last = self.last_xid.entry(session).or_default();
        if xid <= *last && !early {
            return Err(format!("it comes after xid {last} of its session (invariant 6)"));
        }
        *last = xid.max(*last);
        if self.left.contains(&link) {
            return Err(format!("link {link} had lost its session (invariant 6)"));
        }
        match self.writer.insert(session, (link, xid)) {
            Some((before, last)) if before == link && xid <= last => {
                Err(format!("it comes after xid {last} of link {link} (invariant 6)"))
            }
            Some((before, _)) if before != link => {
                self.left.insert(before);
                Ok(())
            }
            _ => Ok(()),
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
        // In order of their xids: the last is the highest.
        self.last_xid = self.ledger.keys().copied().collect();
        // No connection outlives the server.
        self.writer.clear();
        self.left.clear();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Nights 139, 250, 339 and 354: the one excuse, and that there is no other.
    #[test]
    fn only_writes_behind_an_unanswered_handshake_may_come_late() {
        let mut commits = Commits::new(true, None, false);
        assert!(commits.judge_order(1, 5, 10, false).is_ok());
        assert!(commits.judge_order(1, 6, 10, false).is_ok());
        assert!(commits.judge_order(1, 6, 10, false).is_err(), "twice");
        assert!(commits.judge_order(1, 3, 9, true).is_ok(), "given up before it was answered, heard last");
        assert!(commits.judge_order(1, 2, 9, true).is_err(), "within a connection there is no excuse");
        assert!(commits.judge_order(1, 7, 10, false).is_err(), "it lost the session to link 9");
        assert!(commits.judge_order(1, 8, 11, false).is_ok());
        assert!(commits.judge_order(1, 4, 12, false).is_err(), "its handshake was answered");
        assert!(commits.judge_order(2, 1, 13, false).is_ok(), "sessions do not wait for each other");
    }
}
