//! The witness at one link between a leader and a learner: what leaves either end, in which order, and whether its
//! sender may say so yet (invariants 23, 24, 27, 28, 31, 33, 43).

use std::collections::VecDeque;

use super::super::commit::Expired;
use super::history::{History, Reign};
use super::packets::*;

/// What the disk of a member says about it, and what it has written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub member: usize,
    pub life: u32,
    /// Ends what is on the disk.
    pub durable: i64,
    /// Ends what is on the disk or on its way there.
    pub logged: i64,
    pub accepted: Option<i64>,
    pub current: Option<i64>,
    pub votes: bool,
}

/// What the world learns from a leader's packets.
#[derive(Default)]
pub struct Overheard {
    /// Sessions whose end was committed.
    pub expired: Vec<Expired>,
    /// Transactions nobody had seen before.
    pub proposed: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Fresh,
    /// FOLLOWERINFO left the learner.
    Greeted,
    /// LEADERINFO left the leader.
    Told,
    /// ACKEPOCH left the learner.
    Promised,
    /// DIFF, TRUNC or SNAP left the leader.
    Syncing,
    /// NEWLEADER left the leader.
    Offered,
    /// Its ACK left the learner.
    Taken,
    /// UPTODATE left the leader.
    Live,
}

pub struct Desk {
    phase: Phase,
    observer: bool,
    epoch: i64,
    /// Ends the history that the link has carried, from what the learner had.
    tail: i64,
    /// Proposed on this link and not committed.
    pending: VecDeque<i64>,
    last_ack: i64,
    leader_says: Cutter,
    learner_says: Cutter,
}

impl Desk {
    pub fn new() -> Desk {
        Desk {
            phase: Phase::Fresh,
            observer: false,
            epoch: 0,
            tail: 0,
            pending: VecDeque::new(),
            last_ack: 0,
            leader_says: Cutter::default(),
            learner_says: Cutter::default(),
        }
    }

    /// Bytes leave the leader's end.
    pub fn on_leader(
        &mut self,
        bytes: &[u8],
        leader: &Standing,
        now: u64,
        history: &mut History,
    ) -> Result<Overheard, String> {
        self.leader_says.push(bytes);
        let mut news = Overheard::default();
        while let Some(packet) = self.leader_says.next() {
            let before = history.proposal_count();
            let ends = self.judge_leader(&packet, leader, now, history);
            let shown = |why| format!("packet {} of {:#x} from a leader: {why}", packet.kind, packet.zxid);
            news.expired.extend(ends.map_err(shown)?);
            if history.proposal_count() > before {
                news.proposed.extend(packet.data);
            }
        }
        Ok(news)
    }

    fn judge_leader(
        &mut self,
        packet: &Packet,
        leader: &Standing,
        now: u64,
        history: &mut History,
    ) -> Result<Vec<Expired>, String> {
        let out_of_order = |desk: &Desk| Err(format!("it comes in phase {:?} (invariant 28)", desk.phase));
        let zxid = packet.zxid;
        match packet.kind {
            LEADER_INFO if self.phase == Phase::Greeted => {
                self.epoch = zxid >> 32;
                self.phase = Phase::Told;
                if leader.accepted.is_none_or(|accepted| accepted < self.epoch) {
                    return Err(format!("its own disk has accepted {:?} (invariants 23, 33)", leader.accepted));
                }
            }
            DIFF | TRUNC | SNAP if self.phase == Phase::Promised => {
                self.phase = Phase::Syncing;
                if packet.kind != DIFF {
                    self.tail = zxid;
                }
            }
            PROPOSAL if self.phase >= Phase::Syncing && !self.observer => {
                history.on_sight(leader.member, self.tail, zxid, packet.body())?;
                self.tail = zxid;
                self.pending.push_back(zxid);
            }
            COMMIT if self.phase >= Phase::Syncing && !self.observer => {
                if self.pending.pop_front() != Some(zxid) {
                    return Err("it is not the oldest that was proposed here (invariant 28)".into());
                }
                return self.claim(zxid, leader, history);
            }
            INFORM if self.phase >= Phase::Syncing && self.observer => {
                history.on_sight(leader.member, self.tail, zxid, packet.body())?;
                self.tail = zxid;
                return self.claim(zxid, leader, history);
            }
            // A leader syncs an observer with proposals, too.
            PROPOSAL if self.phase == Phase::Syncing => {
                history.on_sight(leader.member, self.tail, zxid, packet.body())?;
                self.tail = zxid;
                self.pending.push_back(zxid);
            }
            COMMIT if self.phase == Phase::Syncing => {
                if self.pending.pop_front() != Some(zxid) {
                    return Err("it is not the oldest that was proposed here (invariant 28)".into());
                }
                return self.claim(zxid, leader, history);
            }
            NEW_LEADER if self.phase == Phase::Syncing => {
                if zxid != self.epoch << 32 || leader.current != Some(self.epoch) {
                    return Err(format!(
                        "the epoch is {:#x}, its own disk has {:?} (invariant 24)",
                        self.epoch, leader.current
                    ));
                }
                let reign = Reign {
                    member: leader.member,
                    life: leader.life,
                    history: history.place(leader.logged),
                    since: now,
                    established: false,
                    supporters: if leader.votes { 1 << leader.member } else { 0 },
                };
                history.on_new_leader(self.epoch, reign)?;
                let due = history.reigns.get(&self.epoch).map_or(0, |reign| reign.history);
                if !history.holds(self.tail, due) {
                    return Err(format!(
                        "it follows {:#x}, the initial history ends at {due:#x} (invariants 27, 28)",
                        self.tail
                    ));
                }
                self.phase = Phase::Offered;
            }
            UP_TO_DATE if self.phase == Phase::Taken => {
                self.phase = Phase::Live;
                return history.on_established(self.epoch);
            }
            PING if self.phase >= Phase::Promised => {}
            REVALIDATE | SYNC if self.phase == Phase::Live => {}
            LEADER_INFO | DIFF | TRUNC | SNAP | PROPOSAL | COMMIT | INFORM | NEW_LEADER | UP_TO_DATE | PING
            | REVALIDATE | SYNC => {
                return out_of_order(self);
            }
            other => return Err(format!("{other} is nothing a leader says (invariant 28)")),
        }
        Ok(Vec::new())
    }

    /// A commit within the synchronisation by a leader that is not established yet is no promise to anybody.
    fn claim(&mut self, zxid: i64, leader: &Standing, history: &mut History) -> Result<Vec<Expired>, String> {
        if history.reigns.get(&self.epoch).is_some_and(|reign| reign.established) {
            return history.on_claim(&format!("the leader, member {},", leader.member), zxid);
        }
        Ok(Vec::new())
    }

    /// Bytes leave the learner's end.
    pub fn on_learner(&mut self, bytes: &[u8], learner: &Standing, history: &mut History) -> Result<(), String> {
        self.learner_says.push(bytes);
        while let Some(packet) = self.learner_says.next() {
            self.judge_learner(&packet, learner, history).map_err(|why| {
                format!("packet {} of {:#x} from learner {learner:?}: {why}", packet.kind, packet.zxid)
            })?;
        }
        Ok(())
    }

    fn judge_learner(&mut self, packet: &Packet, learner: &Standing, history: &mut History) -> Result<(), String> {
        let zxid = packet.zxid;
        match packet.kind {
            FOLLOWER_INFO | OBSERVER_INFO if self.phase == Phase::Fresh => {
                self.phase = Phase::Greeted;
                self.observer = packet.kind == OBSERVER_INFO;
                if self.observer == learner.votes {
                    return Err("that is not its role (invariant 43)".into());
                }
            }
            ACK_EPOCH if self.phase == Phase::Told => {
                self.phase = Phase::Promised;
                if learner.accepted.is_none_or(|accepted| accepted < self.epoch) {
                    return Err(format!("epoch {:#x} is not on its disk (invariants 23, 33)", self.epoch));
                }
                let epoch = packet.body().first_chunk().map(|word| i32::from_be_bytes(*word));
                if zxid >= 0 && history.place(zxid) != history.place(learner.durable) {
                    return Err("that is not what is on its disk (invariant 31)".into());
                }
                // With nothing to show for itself a member names no zxid, and is not counted.
                if zxid >= 0 && epoch != Some(-1) {
                    if epoch.map(i64::from) != learner.current {
                        return Err(format!("it claims epoch {epoch:?} (invariant 24)"));
                    }
                    if learner.current.is_none_or(|current| current < zxid >> 32) {
                        return Err("no epoch of its own vouches for that history (invariant 24)".into());
                    }
                    if learner.votes {
                        history.on_promise(self.epoch, learner.member)?;
                    }
                }
                self.tail = zxid.max(0);
            }
            ACK if zxid as u32 == 0 && self.phase == Phase::Offered => self.take(zxid, learner, history)?,
            ACK if zxid as u32 == 0 && self.phase == Phase::Live => {}
            ACK if self.phase >= Phase::Taken => {
                if self.observer {
                    return Err("an observer acknowledges (invariant 43)".into());
                }
                if !history.knows(zxid) || !history.holds(learner.durable, zxid) {
                    return Err("it is not on its disk (invariant 33)".into());
                }
                if zxid <= self.last_ack {
                    return Err(format!("it comes after {:#x} (invariant 28)", self.last_ack));
                }
                self.last_ack = zxid;
            }
            PING | REQUEST | REVALIDATE if self.phase >= Phase::Taken => {}
            FOLLOWER_INFO | OBSERVER_INFO | ACK_EPOCH | ACK | PING | REQUEST | REVALIDATE => {
                return Err(format!("it comes in phase {:?} (invariant 28)", self.phase));
            }
            other => return Err(format!("{other} is nothing a learner says (invariant 28)")),
        }
        Ok(())
    }

    /// The history is taken over: it and then the epoch must be on the disk.
    fn take(&mut self, zxid: i64, learner: &Standing, history: &mut History) -> Result<(), String> {
        self.phase = Phase::Taken;
        if zxid != self.epoch << 32 {
            return Err(format!("the epoch is {:#x} (invariant 28)", self.epoch));
        }
        let Some(reign) = history.reigns.get(&self.epoch).copied() else {
            return Err("nobody leads that epoch (invariant 28)".into());
        };
        if learner.current != Some(self.epoch) {
            return Err("the epoch is not on its disk (invariant 33)".into());
        }
        if !history.holds(learner.durable, reign.history) {
            return Err(format!("history up to {:#x} is not on its disk (invariants 27, 33)", reign.history));
        }
        if learner.votes
            && let Some(reign) = history.reigns.get_mut(&self.epoch)
        {
            reign.supporters |= 1 << learner.member;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::commit::Commits;
    use super::super::packets::tests::packet;
    use super::*;
    use crate::base::{SessionId, WallMs, Xid, Zxid};
    use crate::codec::txn::{self, Txn, TxnHeader};

    const E1: i64 = 1 << 32;

    fn standing(member: usize, durable: i64, current: i64) -> Standing {
        Standing { member, life: 1, durable, logged: durable, accepted: Some(1), current: Some(current), votes: true }
    }

    fn txn(zxid: i64) -> Vec<u8> {
        let header = TxnHeader { session: SessionId(zxid), cxid: Xid(0), zxid: Zxid(zxid), time: WallMs(1) };
        let digest = txn::TxnDigest { version: txn::DIGEST_VERSION, tree: super::super::super::model::FRESH_DIGEST };
        let mut bytes = Vec::new();
        txn::encode(&mut bytes, &header, &Txn::CreateSession { timeout_ms: 1000 }, Some(digest));
        bytes
    }

    /// One link up to the learner's ACK of NEWLEADER, by the book.
    fn taken(history: &mut History) -> Desk {
        let mut desk = Desk::new();
        let (leader, mut learner) = (standing(0, 0, 1), standing(1, 0, 0));
        desk.on_learner(&packet(FOLLOWER_INFO, 0, None), &learner, history).unwrap();
        desk.on_leader(&packet(LEADER_INFO, E1, Some(&[0, 1, 0, 0])), &leader, 0, history).unwrap();
        desk.on_learner(&packet(ACK_EPOCH, 0, Some(&[0; 4])), &learner, history).unwrap();
        desk.on_leader(&packet(DIFF, 0, None), &leader, 0, history).unwrap();
        desk.on_leader(&packet(NEW_LEADER, E1, None), &leader, 0, history).unwrap();
        learner.current = Some(1);
        desk.on_learner(&packet(ACK, E1, None), &learner, history).unwrap();
        desk
    }

    fn history() -> History {
        History::new(Commits::new(true, None, false), 0b111, true)
    }

    #[test]
    fn a_link_by_the_book() {
        let mut history = history();
        let mut desk = taken(&mut history);
        let leader = standing(0, 0, 1);
        desk.on_leader(&packet(UP_TO_DATE, -1, None), &leader, 0, &mut history).unwrap();
        desk.on_leader(&packet(PROPOSAL, E1 + 1, Some(&txn(E1 + 1))), &leader, 0, &mut history).unwrap();
        let early = desk.on_learner(&packet(ACK, E1 + 1, None), &standing(1, 0, 1), &mut history);
        assert!(early.is_err_and(|why| why.contains("invariant 33")));
        (0..2).for_each(|member| history.on_durable(member, E1 + 1));
        desk.on_learner(&packet(ACK, E1 + 1, None), &standing(1, E1 + 1, 1), &mut history).unwrap();
        desk.on_leader(&packet(COMMIT, E1 + 1, None), &leader, 0, &mut history).unwrap();
        assert_eq!(history.committed(), E1 + 1);
    }

    #[test]
    fn commits_keep_the_order_of_proposals() {
        let mut history = history();
        let mut desk = taken(&mut history);
        let leader = standing(0, 0, 1);
        desk.on_leader(&packet(UP_TO_DATE, -1, None), &leader, 0, &mut history).unwrap();
        for counter in 1..=2 {
            let bytes = packet(PROPOSAL, E1 + counter, Some(&txn(E1 + counter)));
            desk.on_leader(&bytes, &leader, 0, &mut history).unwrap();
        }
        let swapped = desk.on_leader(&packet(COMMIT, E1 + 2, None), &leader, 0, &mut history);
        assert!(swapped.is_err_and(|why| why.contains("invariant 28")));
    }

    #[test]
    fn no_word_before_its_disk() {
        let mut history = history();
        let mut desk = Desk::new();
        let (leader, learner) = (standing(0, 0, 1), standing(1, 0, 0));
        desk.on_learner(&packet(FOLLOWER_INFO, 0, None), &learner, &mut history).unwrap();
        desk.on_leader(&packet(LEADER_INFO, E1, None), &leader, 0, &mut history).unwrap();
        let forgetful = Standing { accepted: Some(0), ..learner };
        let told = desk.on_learner(&packet(ACK_EPOCH, 0, Some(&[0; 4])), &forgetful, &mut history);
        assert!(told.is_err_and(|why| why.contains("invariants 23, 33")));
        let mut desk = Desk::new();
        desk.on_learner(&packet(FOLLOWER_INFO, 0, None), &learner, &mut history).unwrap();
        desk.on_leader(&packet(LEADER_INFO, E1, None), &leader, 0, &mut history).unwrap();
        desk.on_learner(&packet(ACK_EPOCH, 0, Some(&[0; 4])), &learner, &mut history).unwrap();
        desk.on_leader(&packet(DIFF, 0, None), &leader, 0, &mut history).unwrap();
        desk.on_leader(&packet(NEW_LEADER, E1, None), &leader, 0, &mut history).unwrap();
        let early = desk.on_learner(&packet(ACK, E1, None), &learner, &mut history);
        assert!(early.is_err_and(|why| why.contains("invariant 33")));
    }

    #[test]
    fn nobody_serves_without_a_quorum() {
        let mut history = History::new(Commits::new(true, None, false), 0b11111, true);
        let mut desk = taken(&mut history);
        let told = desk.on_leader(&packet(UP_TO_DATE, -1, None), &standing(0, 0, 1), 0, &mut history);
        assert!(told.is_err_and(|why| why.contains("without a quorum")));
    }
}
