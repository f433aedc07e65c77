//! New session ids: the server's id in the top byte, then a count that starts from the clock.
//!
//! ZooKeeper starts it from a clock that restarts with the machine, so that ids can come again. Here it is
//! the wall clock, and never at or below an id this server has seen in its own snapshot or journal.

use crate::base::SessionId;

/// The source of session ids of one server.
#[derive(Debug)]
pub struct SessionIds {
    server: u8,
    /// The low 56 bits of the next id.
    next: u64,
}

const COUNT_MASK: u64 = (1 << 56) - 1;

impl SessionIds {
    /// `server_id` is 1 on a standalone server (parity SE-02). `floor` is an id seen, as [`SessionIds::note`].
    pub fn new(wall_ms: i64, server_id: u8, floor: Option<SessionId>) -> SessionIds {
        let mut ids = SessionIds { server: server_id, next: ((wall_ms as u64) << 24) >> 8 & COUNT_MASK };
        if let Some(seen) = floor {
            ids.note(seen);
        }
        ids
    }

    /// An id that exists or existed: ids of this server must go on above it. Another server's cannot collide.
    pub fn note(&mut self, seen: SessionId) {
        if seen.server() == self.server {
            self.next = self.next.max((seen.0 as u64 & COUNT_MASK) + 1);
        }
    }

    /// A new id. Never 0, nor the number that marks a container.
    #[allow(clippy::should_implement_trait, reason = "ids do not end; there is nothing to iterate over")]
    pub fn next(&mut self) -> SessionId {
        loop {
            let id = (u64::from(self.server) << 56 | self.next & COUNT_MASK) as i64;
            self.next = (self.next & COUNT_MASK) + 1;
            if id != 0 && id != i64::MIN {
                return SessionId(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_server_and_rise() {
        let mut ids = SessionIds::new(0x12_3456_789a, 1, None);
        assert_eq!(ids.next(), SessionId(0x0112_3456_789a_0000));
        assert_eq!(ids.next(), SessionId(0x0112_3456_789a_0001));
        assert_eq!(SessionIds::new(0, 0x80, None).next(), SessionId(i64::MIN + 1));
        assert_eq!(SessionIds::new(0, 0, None).next(), SessionId(1));
    }

    #[test]
    fn an_id_seen_is_never_given_again_even_if_the_clock_went_back() {
        let seen = SessionId(0x01ff_0000_0000_0007);
        let mut ids = SessionIds::new(5, 1, Some(seen));
        assert_eq!(ids.next(), SessionId(0x01ff_0000_0000_0008));
        ids.note(SessionId(0x0200_0000_0000_0000 | 0xfff_ffff_ffff));
        ids.note(SessionId(0x0100_0000_0000_0003));
        assert_eq!(ids.next(), SessionId(0x01ff_0000_0000_0009));
    }
}
