//! Everything any leader ever proposed, what of it is committed, and on whose disks it is: the one truth of the
//! ensemble, of which every member may hold a part and nobody a different one.
//!
//! Proposals form a tree: each has one before it, and within an epoch that is the number before. What is committed
//! is one path from the root, which only grows (invariants 20, 21, 26, 29, 30, 32). It is folded into the model as it
//! grows, each transaction judged against the state before it. On whose disks a transaction is says the invented
//! disk, not the member (33).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::super::commit::{Commits, Expired};
use super::super::model::{FRESH_DIGEST, follows};
use crate::codec::txn;

/// What some leader proposed under one zxid.
struct Proposal {
    body: Rc<[u8]>,
    /// Of the tree with it applied.
    digest: i64,
    /// Members whose disks have held it, one bit each. What is lost or cut off again stays counted: the question
    /// is who could vouch for it when it was committed.
    durable_on: u64,
}

/// A leader's epoch, from its first NEWLEADER on.
#[derive(Clone, Copy, Debug)]
pub struct Reign {
    pub member: usize,
    pub life: u32,
    /// The last zxid of what it led with: its initial history.
    pub history: i64,
    /// Ends what was committed then.
    pub committed: i64,
    /// In the world's microseconds.
    pub since: u64,
    /// A quorum has taken its history over.
    pub established: bool,
    /// Members that have, one bit each, its leader among them.
    pub supporters: u64,
}

pub struct History {
    proposals: BTreeMap<i64, Proposal>,
    /// What comes before the first transaction of an epoch.
    roots: BTreeMap<i64, i64>,
    pub reigns: BTreeMap<i64, Reign>,
    committed: i64,
    pub commits: Commits,
    /// One bit for each member that votes.
    voters: u64,
    /// Whether only a leader of its epoch may propose; a lone server has none.
    pub has_leaders: bool,
    /// Who was counted for which epoch: nobody twice.
    promises: BTreeSet<(i64, usize)>,
}

impl History {
    pub fn new(commits: Commits, voters: u64, has_leaders: bool) -> History {
        History {
            proposals: BTreeMap::new(),
            roots: BTreeMap::new(),
            reigns: BTreeMap::new(),
            committed: 0,
            commits,
            voters,
            has_leaders,
            promises: BTreeSet::new(),
        }
    }

    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// The newest zxid a server may honestly show: an established epoch's own number counts.
    pub fn shown_most(&self) -> i64 {
        let epoch = self.reigns.iter().rev().find(|(_, reign)| reign.established).map_or(0, |(epoch, _)| epoch << 32);
        self.committed.max(epoch)
    }

    pub fn knows(&self, zxid: i64) -> bool {
        zxid == 0 || self.proposals.contains_key(&zxid)
    }

    pub fn proposal_count(&self) -> usize {
        self.proposals.len()
    }

    /// The transaction a zxid stands for: one that ends in 0 is its epoch's initial history.
    pub fn place(&self, zxid: i64) -> i64 {
        if zxid as u32 != 0 || zxid <= 0 {
            return zxid.max(0);
        }
        let epoch = zxid >> 32;
        match (self.reigns.get(&epoch), self.roots.get(&epoch)) {
            (Some(reign), _) => reign.history,
            (None, Some(root)) => *root,
            (None, None) => zxid,
        }
    }

    fn before(&self, zxid: i64) -> i64 {
        if zxid as u32 > 1 { zxid - 1 } else { self.roots.get(&(zxid >> 32)).copied().unwrap_or(0) }
    }

    /// Whether a history that ends at `end` holds `zxid`.
    pub fn holds(&self, end: i64, zxid: i64) -> bool {
        let (mut end, zxid) = (self.place(end), self.place(zxid));
        // Epoch by epoch: within one there is only one history.
        while end >> 32 > zxid >> 32 {
            end = self.before((end >> 32 << 32) + 1);
        }
        end >> 32 == zxid >> 32 && end >= zxid
    }

    /// The tree's digest at `zxid`; `None` of what nobody proposed.
    pub fn digest(&self, zxid: i64) -> Option<i64> {
        match self.place(zxid) {
            0 => Some(FRESH_DIGEST),
            zxid => self.proposals.get(&zxid).map(|proposal| proposal.digest),
        }
    }

    /// A transaction is seen at `member`, behind `last`: logged, or leaving it as a proposal. Says whether it is new
    /// (invariants 20, 21, 27).
    pub fn on_sight(&mut self, member: usize, last: i64, zxid: i64, body: &[u8]) -> Result<bool, String> {
        if let Some(known) = self.proposals.get(&zxid) {
            if *known.body != *body {
                return Err(format!("{zxid:#x} at member {member} is not what was proposed under it (invariant 20)"));
            }
            let due = self.before(zxid);
            return match self.place(last) == due {
                true => Ok(false),
                false => Err(format!(
                    "member {member} puts {zxid:#x} behind {last:#x}, it was proposed behind {due:#x} (invariant 27)"
                )),
            };
        }
        let epoch = zxid >> 32;
        let last = self.place(last);
        if !follows(last, zxid) {
            return Err(format!("{zxid:#x} is proposed behind {last:#x} (invariant 21)"));
        }
        if self.has_leaders && self.reigns.get(&epoch).is_none_or(|reign| reign.member != member) {
            return Err(format!(
                "member {member} has {zxid:#x}, which the leader {:?} of its epoch never proposed (invariants 20, 21)",
                self.reigns.get(&epoch)
            ));
        }
        let first_of_reign = self.reigns.get(&epoch).filter(|_| zxid as u32 == 1);
        if let Some(reign) = first_of_reign.filter(|reign| reign.history != last) {
            return Err(format!("{zxid:#x} is proposed behind {last:#x}, but {reign:?} (invariant 27)"));
        }
        let entry = txn::decode(body).map_err(|error| format!("{zxid:#x} cannot be read: {error}"))?;
        if entry.header.zxid.0 != zxid {
            return Err(format!("{zxid:#x} carries the header of {} (invariant 20)", entry.header.zxid));
        }
        let digest = match entry.digest {
            Some(digest) => digest.tree,
            None => self.digest(last).ok_or("a proposal behind an unknown one")?,
        };
        if zxid as u32 == 1 {
            self.roots.insert(epoch, last);
        }
        self.proposals.insert(zxid, Proposal { body: body.into(), digest, durable_on: 0 });
        Ok(true)
    }

    /// A lone server came back without what came after `zxid`: those numbers are free again.
    pub fn forget_after(&mut self, zxid: i64) {
        self.proposals.split_off(&(zxid + 1));
    }

    /// The disk of `member` holds a history that ends at `zxid`.
    pub fn on_durable(&mut self, member: usize, zxid: i64) {
        let mut zxid = self.place(zxid);
        while let Some(proposal) = self.proposals.get_mut(&zxid) {
            if proposal.durable_on & 1 << member != 0 {
                return;
            }
            proposal.durable_on |= 1 << member;
            zxid = self.before(zxid);
        }
    }

    /// A first NEWLEADER of `epoch` leaves `member`, whose history ends at `history` (invariants 23, 26).
    pub fn on_new_leader(&mut self, epoch: i64, reign: Reign) -> Result<(), String> {
        if let Some(known) = self.reigns.get(&epoch) {
            return match (known.member, known.life) == (reign.member, reign.life) {
                true => Ok(()),
                false => Err(format!("two leaders of epoch {epoch:#x}: {known:?} and {reign:?} (invariant 23)")),
            };
        }
        if reign.history >> 32 >= epoch {
            return Err(format!("a leader of epoch {epoch:#x} begins with {:#x} (invariant 23)", reign.history));
        }
        if !self.holds(reign.history, self.committed) {
            return Err(format!(
                "member {} leads epoch {epoch:#x} with a history that ends at {:#x} and lacks {:#x}, which is \
                 committed (invariant 26)",
                reign.member, reign.history, self.committed
            ));
        }
        self.reigns.insert(epoch, reign);
        Ok(())
    }

    /// `member` promises to follow the leader of `epoch`, and is counted (invariant 23).
    pub fn on_promise(&mut self, epoch: i64, member: usize) -> Result<(), String> {
        match self.promises.insert((epoch, member)) {
            true => Ok(()),
            false => Err(format!("member {member} is counted twice for epoch {epoch:#x} (invariant 23)")),
        }
    }

    /// The leader of `epoch` serves: a quorum must have taken its history over (invariant 23).
    pub fn on_established(&mut self, epoch: i64) -> Result<Vec<Expired>, String> {
        let voters = self.voters;
        let Some(reign) = self.reigns.get_mut(&epoch) else {
            return Err(format!("epoch {epoch:#x} is established without a NEWLEADER (invariant 28)"));
        };
        if 2 * (reign.supporters & voters).count_ones() <= voters.count_ones() {
            return Err(format!("{reign:?} of epoch {epoch:#x} is established without a quorum (invariant 23)"));
        }
        reign.established = true;
        let (history, who) = (reign.history, format!("the leader of {epoch:#x}, member {},", reign.member));
        self.on_claim(&who, history)
    }

    /// Somebody calls everything up to `zxid` committed. Returns the sessions whose end that commits.
    pub fn on_claim(&mut self, who: &str, zxid: i64) -> Result<Vec<Expired>, String> {
        let zxid = self.place(zxid);
        if !self.knows(zxid) {
            return Err(format!("{who} calls {zxid:#x} committed, which nobody proposed (invariant 20)"));
        }
        if zxid <= self.committed {
            return match self.holds(self.committed, zxid) {
                true => Ok(Vec::new()),
                false => Err(format!(
                    "{who} calls {zxid:#x} committed, which the history up to {:#x} lacks (invariants 29, 30)",
                    self.committed
                )),
            };
        }
        if !self.holds(zxid, self.committed) {
            return Err(format!(
                "{who} calls {zxid:#x} committed, whose history lacks {:#x}, committed before (invariants 26, 30, 32)",
                self.committed
            ));
        }
        let mut path = VecDeque::new();
        let mut at = zxid;
        while at > self.committed {
            path.push_front(at);
            at = self.before(at);
        }
        let mut expired = Vec::new();
        for zxid in path {
            expired.extend(self.commit(who, zxid)?);
        }
        Ok(expired)
    }

    fn commit(&mut self, who: &str, zxid: i64) -> Result<Option<Expired>, String> {
        let proposal = self.proposals.get(&zxid).ok_or_else(|| format!("{zxid:#x} is missing"))?;
        let holders = proposal.durable_on & self.voters;
        if 2 * holders.count_ones() <= self.voters.count_ones() {
            return Err(format!(
                "{who} calls {zxid:#x} committed, but only the disks of {holders:#b} of {:#b} ever held it \
                 (invariant 33)",
                self.voters
            ));
        }
        let body = Rc::clone(&proposal.body);
        self.committed = zxid;
        let entry = txn::decode(&body).map_err(|error| error.to_string())?;
        self.commits.on_txn(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{SessionId, WallMs, Xid, Zxid};
    use crate::codec::txn::{Txn, TxnHeader};

    fn body(zxid: i64, session: i64) -> Vec<u8> {
        let header = TxnHeader { session: SessionId(session), cxid: Xid(0), zxid: Zxid(zxid), time: WallMs(1) };
        let digest = txn::TxnDigest { version: txn::DIGEST_VERSION, tree: FRESH_DIGEST };
        let mut bytes = Vec::new();
        txn::encode(&mut bytes, &header, &Txn::CreateSession { timeout_ms: 1000 }, Some(digest));
        bytes
    }

    fn reign(member: usize, history: i64) -> Reign {
        Reign { member, life: 1, history, committed: 0, since: 0, established: false, supporters: 1 << member }
    }

    const E1: i64 = 1 << 32;
    const E2: i64 = 2 << 32;

    fn three() -> History {
        let mut history = History::new(Commits::new(true, None, false), 0b111, true);
        history.on_new_leader(1, reign(0, 0)).unwrap();
        for counter in 1..=3 {
            assert_eq!(history.on_sight(0, E1 + counter - 1, E1 + counter, &body(E1 + counter, counter)), Ok(true));
            history.on_durable(0, E1 + counter);
        }
        history
    }

    #[test]
    fn what_no_quorum_holds_is_not_committed() {
        let mut history = three();
        assert!(history.on_claim("test", E1 + 1).is_err_and(|why| why.contains("invariant 33")));
        history.on_durable(1, E1 + 2);
        assert!(history.on_claim("test", E1 + 2).is_ok_and(|expired| expired.is_empty()));
        assert_eq!(history.committed(), E1 + 2);
        assert!(history.on_claim("test", E1 + 9).is_err_and(|why| why.contains("nobody proposed")));
    }

    #[test]
    fn an_epoch_has_one_leader_and_it_has_all_that_is_committed() {
        let mut history = three();
        history.on_durable(1, E1 + 2);
        history.on_claim("test", E1 + 2).unwrap();
        assert!(history.on_new_leader(1, reign(1, 0)).is_err_and(|why| why.contains("invariant 23")));
        assert!(history.on_new_leader(2, reign(1, E1 + 1)).is_err_and(|why| why.contains("invariant 26")));
        history.on_new_leader(2, reign(1, E1 + 2)).unwrap();
        assert_eq!(history.on_sight(1, E2, E2 + 1, &body(E2 + 1, 9)), Ok(true));
        assert!(history.holds(E2 + 1, E1 + 2) && !history.holds(E2 + 1, E1 + 3) && history.holds(E2, E1 + 2));
        // The tail of the old epoch that nobody took over may not come back to life.
        (0..3).for_each(|member| history.on_durable(member, E2 + 1));
        history.on_claim("test", E2 + 1).unwrap();
        history.on_durable(2, E1 + 3);
        assert!(history.on_claim("old leader", E1 + 3).is_err_and(|why| why.contains("invariants 29, 30")));
    }

    #[test]
    fn a_zxid_has_one_content_and_one_place() {
        let mut history = three();
        assert_eq!(history.on_sight(2, E1, E1 + 1, &body(E1 + 1, 1)), Ok(false));
        assert!(history.on_sight(2, E1, E1 + 1, &body(E1 + 1, 7)).is_err_and(|why| why.contains("invariant 20")));
        assert!(history.on_sight(2, E1, E1 + 2, &body(E1 + 2, 2)).is_err_and(|why| why.contains("invariant 27")));
        assert!(history.on_sight(0, E1 + 3, E1 + 5, &body(E1 + 5, 5)).is_err_and(|why| why.contains("invariant 21")));
        assert!(history.on_sight(1, E1 + 3, E1 + 4, &body(E1 + 4, 5)).is_err_and(|why| why.contains("never proposed")));
    }
}
