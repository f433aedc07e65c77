//! Who speaks to an executor: one client, or several. With one there is nobody whom it could make wait.

use crate::base::{Instant, Now};

pub struct Company {
    /// The token of whoever spoke last.
    last: u64,
    /// Since when nobody else has.
    since: Instant,
}

/// Who has had the executor to itself for so long is taken to be the only one that waits for it.
const LEFT_MS: u64 = 10;

/// No socket's token.
const NOBODY: u64 = u64::MAX;

impl Company {
    pub fn new(now: Now) -> Company {
        Company { last: NOBODY, since: now.mono }
    }

    /// The socket with this token has something to say.
    pub fn hear(&mut self, token: u64, now: Now) {
        if token != self.last {
            self.last = token;
            self.since = now.mono;
        }
    }

    /// Somebody has spoken who may be many.
    pub fn hear_many(&mut self, now: Now) {
        self.last = NOBODY;
        self.since = now.mono;
    }

    pub fn is_single(&self, now: Now) -> bool {
        now.mono.millis_since(self.since) >= LEFT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallMs;

    #[test]
    fn it_is_single_once_the_others_have_been_silent_for_a_while() {
        let at = |ms: u64| Now { mono: Instant::default().plus_ms(ms), wall: WallMs(0) };
        let mut company = Company::new(at(0));
        company.hear(1, at(5));
        assert!(!company.is_single(at(14)));
        company.hear(1, at(14));
        assert!(company.is_single(at(15)));
        company.hear(2, at(20));
        assert!(!company.is_single(at(29)) && company.is_single(at(30)));
        company.hear(1, at(31));
        company.hear(1, at(40));
        assert!(company.is_single(at(41)));
        company.hear_many(at(50));
        company.hear(1, at(55));
        assert!(!company.is_single(at(64)) && company.is_single(at(65)));
    }
}
