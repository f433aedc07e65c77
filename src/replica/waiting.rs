//! Proposals and answers on their way to the shards, in the order in which they leave.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::Zxid;
use crate::mail::{Changes, Entry};

/// Lives on: the replication core.
#[derive(Default)]
pub(super) struct Waiting {
    /// Oldest first. An entry leaves when its zxid is committed.
    entries: VecDeque<Entry>,
    /// Places of answers to `sync` that need more than that: a quorum's word that this server still leads.
    unconfirmed: VecDeque<usize>,
}

impl Waiting {
    pub fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    /// An answer that waits for [`Waiting::confirm`], too, and all behind it with it.
    pub fn push_unconfirmed(&mut self, entry: Entry) {
        self.unconfirmed.push_back(self.entries.len());
        self.push(entry);
    }

    /// The oldest unconfirmed answer may leave.
    pub fn confirm(&mut self) {
        self.unconfirmed.pop_front();
    }

    /// What may leave when everything up to `committed` is.
    pub fn take(&mut self, committed: Zxid) -> Option<Arc<[Entry]>> {
        let held = self.unconfirmed.front().copied().unwrap_or(usize::MAX);
        let ready = self.entries.iter().take(held).take_while(|entry| entry.zxid <= committed).count();
        if ready == 0 {
            return None;
        }
        self.unconfirmed.iter_mut().for_each(|place| *place -= ready);
        Some(self.entries.drain(..ready).collect())
    }

    /// An epoch begins with `begin`, behind what was committed before it.
    pub fn begin_epoch(&mut self, begin: Zxid) {
        debug_assert!(self.unconfirmed.is_empty(), "nobody has asked the new leader for anything yet");
        let at = self.entries.iter().take_while(|entry| entry.zxid <= begin).count();
        self.entries.insert(at, Entry { zxid: begin, changes: Changes::new(), answer: None });
    }

    /// Nobody waits for answers any more; what was proposed may still come to pass.
    pub fn forget_answers(&mut self) {
        self.unconfirmed.clear();
        for entry in &mut self.entries {
            entry.answer = None;
        }
    }

    pub fn clear(&mut self) {
        *self = Waiting::default();
    }

    /// How many of them are for nobody in particular.
    pub fn unasked_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.answer.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ConnId, Origin, ShardId};
    use crate::mail::{Answer, AnswerKind};

    fn entry(zxid: i64) -> Entry {
        let to = Origin { shard: ShardId(0), conn: ConnId { slot: 1, generation: 1 } };
        let answer = Some(Answer { to, kind: AnswerKind::Hangup });
        Entry { zxid: Zxid(zxid), changes: Changes::new(), answer }
    }

    fn taken(waiting: &mut Waiting, committed: i64) -> Vec<i64> {
        waiting.take(Zxid(committed)).iter().flat_map(|entries| entries.iter()).map(|entry| entry.zxid.0).collect()
    }

    #[test]
    fn what_is_not_confirmed_holds_up_what_is_behind_it() {
        let mut waiting = Waiting::default();
        waiting.push(entry(1));
        waiting.push_unconfirmed(entry(1));
        waiting.push(entry(2));
        waiting.push_unconfirmed(entry(2));
        waiting.push(entry(3));
        assert!(taken(&mut waiting, 0).is_empty());
        assert_eq!(taken(&mut waiting, 3), [1]);
        waiting.confirm();
        assert_eq!(taken(&mut waiting, 3), [1, 2]);
        assert!(taken(&mut waiting, 3).is_empty());
        waiting.confirm();
        assert_eq!(taken(&mut waiting, 2), [2]);
        assert_eq!(taken(&mut waiting, 3), [3]);
        waiting.push_unconfirmed(entry(4));
        waiting.forget_answers();
        assert_eq!((waiting.unasked_count(), taken(&mut waiting, 4)), (1, vec![4]));
    }
}
