//! Whether an executor may stand still for a write of the disk: who speaks to it, and who would wait.
//!
//! With one client that waits for that very write there is nobody whom it could make wait, and none with clients that
//! are silent. The other members of an ensemble do not count: who follows answers its leader only after the write.

use crate::base::{Instant, Now};

pub struct Company {
    /// The token of whoever spoke last.
    last: u64,
    /// Since when nobody else has.
    since: Instant,
    /// When it did.
    spoke: Instant,
    /// It waits for a write.
    waits: bool,
}

/// Who has had the executor to itself for so long is taken to be the only one that waits for it, and who has said
/// nothing for so long to have nothing to say.
const LEFT_MS: u64 = 10;

/// No socket's token.
const NOBODY: u64 = u64::MAX;

impl Company {
    pub fn new(now: Now) -> Company {
        Company { last: NOBODY, since: now.mono, spoke: now.mono, waits: false }
    }

    /// The socket with this token has something to say.
    pub fn hear(&mut self, token: u64, now: Now) {
        if token != self.last {
            self.last = token;
            self.since = now.mono;
        }
        self.spoke = now.mono;
        self.waits = false;
    }

    /// Somebody has spoken who may be many.
    pub fn hear_many(&mut self, now: Now) {
        self.hear(NOBODY, now);
        self.since = now.mono;
    }

    /// What was heard last asks for a write.
    pub fn hear_write(&mut self) {
        self.waits = true;
    }

    /// Nobody but who waits for the write would have to wait for the executor.
    pub fn is_out_of_the_way(&self, now: Now) -> bool {
        let left = |since: Instant| now.mono.millis_since(since) >= LEFT_MS;
        left(self.spoke) || self.waits && left(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallMs;

    fn at(ms: u64) -> Now {
        Now { mono: Instant::default().plus_ms(ms), wall: WallMs(0) }
    }

    #[test]
    fn a_single_writer_counts_as_one_once_the_others_have_been_silent_for_a_while() {
        let mut company = Company::new(at(0));
        let mut may = |token, ms| {
            company.hear(token, at(ms));
            company.hear_write();
            company.is_out_of_the_way(at(ms))
        };
        assert_eq!([(1, 5), (1, 14), (1, 15)].map(|(token, ms)| may(token, ms)), [false, false, true]);
        assert_eq!([(2, 20), (2, 29), (2, 30)].map(|(token, ms)| may(token, ms)), [false, false, true]);
        company.hear_many(at(50));
        company.hear(1, at(55));
        company.hear_write();
        assert!(!company.is_out_of_the_way(at(64)) && company.is_out_of_the_way(at(65)));
    }

    #[test]
    fn a_single_reader_is_in_the_way_of_another_members_write_until_it_is_silent() {
        let mut company = Company::new(at(0));
        for ms in 0..20 {
            company.hear(1, at(ms));
            assert!(!company.is_out_of_the_way(at(ms)));
        }
        assert!(!company.is_out_of_the_way(at(28)) && company.is_out_of_the_way(at(29)));
    }
}
