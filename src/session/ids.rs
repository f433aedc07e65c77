//! New session ids: the server's id in the top byte, then a count that starts from the clock.
//!
//! ZooKeeper starts it from a clock that restarts with the machine, so that ids can come again. Here it is
//! the wall clock, and never at or below an id of this server that it has seen, be it in its own snapshot or journal or in
//! what a leader sends.

use std::collections::BTreeMap;

use crate::base::SessionId;

/// The highest session id seen of each server.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct HighestIds(BTreeMap<u8, SessionId>);

impl HighestIds {
    pub fn note(&mut self, seen: SessionId) {
        let highest = self.0.entry(seen.server()).or_insert(seen);
        *highest = (*highest).max(seen);
    }

    /// `SessionId::NONE` for none.
    fn of(&self, server: u8) -> SessionId {
        self.0.get(&server).copied().unwrap_or(SessionId::NONE)
    }
}

/// The source of session ids of one server.
#[derive(Debug)]
pub struct SessionIds {
    server: u8,
    /// The low 56 bits of the next id.
    next: u64,
    last: SessionId,
}

const COUNT_MASK: u64 = (1 << 56) - 1;

impl SessionIds {
    /// `server_id` is 1 on a standalone server (parity SE-02). `seen`: as [`SessionIds::note_all`].
    pub fn new(wall_ms: i64, server_id: u8, seen: &HighestIds) -> SessionIds {
        let next = ((wall_ms as u64) << 24) >> 8 & COUNT_MASK;
        let mut ids = SessionIds { server: server_id, next, last: SessionId::NONE };
        ids.note_all(seen);
        ids
    }

    /// An id that exists or existed: ids of this server must go on above it. Another server's cannot collide.
    pub fn note(&mut self, seen: SessionId) {
        if seen.server() == self.server && seen != SessionId::NONE {
            self.next = self.next.max((seen.0 as u64 & COUNT_MASK) + 1);
            self.last = self.last.max(seen);
        }
    }

    /// Ids in a history that was read.
    pub fn note_all(&mut self, seen: &HighestIds) {
        self.note(seen.of(self.server));
    }

    /// The highest id of this server that was given or seen; `SessionId::NONE` for none.
    pub fn last(&self) -> SessionId {
        self.last
    }

    /// A new id. Never 0, nor the number that marks a container.
    #[allow(clippy::should_implement_trait, reason = "ids do not end; there is nothing to iterate over")]
    pub fn next(&mut self) -> SessionId {
        loop {
            let id = (u64::from(self.server) << 56 | self.next & COUNT_MASK) as i64;
            self.next = (self.next & COUNT_MASK) + 1;
            if id != 0 && id != i64::MIN {
                self.last = SessionId(id);
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(wall_ms: i64, server_id: u8) -> SessionIds {
        SessionIds::new(wall_ms, server_id, &HighestIds::default())
    }

    #[test]
    fn ids_carry_the_server_and_rise() {
        let mut ids = new(0x12_3456_789a, 1);
        assert_eq!(ids.next(), SessionId(0x0112_3456_789a_0000));
        assert_eq!(ids.next(), SessionId(0x0112_3456_789a_0001));
        assert_eq!(new(0, 0x80).next(), SessionId(i64::MIN + 1));
        assert_eq!(new(0, 0).next(), SessionId(1));
    }

    #[test]
    fn an_id_seen_is_never_given_again_even_if_the_clock_went_back() {
        let seen = SessionId(0x01ff_0000_0000_0007);
        let mut history = HighestIds::default();
        // Whatever others have given, and in whatever order they were seen.
        [0x01ff_0000_0000_0003, seen.0, 0x0200_0000_0000_0000].into_iter().for_each(|id| history.note(SessionId(id)));
        let mut ids = SessionIds::new(5, 1, &history);
        assert_eq!(ids.last(), seen);
        assert_eq!(ids.next(), SessionId(0x01ff_0000_0000_0008));
        assert_eq!(ids.last(), SessionId(0x01ff_0000_0000_0008));
        ids.note(SessionId(0x0200_0000_0000_0000 | 0xfff_ffff_ffff));
        ids.note(SessionId(0x0100_0000_0000_0003));
        assert_eq!(ids.next(), SessionId(0x01ff_0000_0000_0009));
    }
}
