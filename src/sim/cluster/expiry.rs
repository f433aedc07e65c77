//! Who was heard, by whom, and when: no session may end unasked before its whole timeout has passed since the
//! leader learned that it lives, or since the leader began (invariant 19).

use std::collections::BTreeMap;

use super::member::DRIFT_PER_MILLE;

/// When a session was last known alive, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By a member, from the client itself.
    pub by_server: Option<(usize, u64)>,
    /// By a member that leads, from anybody.
    pub by_leader: Option<(usize, u64)>,
    /// The last timeout a member that leads was told with that, and when: it may be that of a connection the client
    /// has left, whose handshake was late.
    told: Option<(usize, u64, i32)>,
    /// The last handshake that each member's shard heard, likewise: a leader that others have left goes by its own.
    hellos: BTreeMap<usize, (u64, i32)>,
    /// What the client may believe was negotiated, at least.
    pub timeout_ms: i32,
    /// What its latest connection asked for.
    asked_ms: i32,
    /// With what it was opened: all that a leader knows who has not heard it since.
    opened_ms: i32,
}

#[derive(Default)]
pub struct Ears {
    pub(super) sessions: BTreeMap<i64, Heard>,
    /// Until when something was or will be out of order: a pause, a blocked path, a member down.
    last_fault: u64,
    /// By when a member in touch with its leader has passed on what it heard.
    grace_us: u64,
}

impl Ears {
    pub fn with_grace(grace_us: u64) -> Ears {
        Ears { grace_us, ..Ears::default() }
    }

    pub fn on_server(&mut self, session: i64, member: usize, now: u64) {
        self.sessions.entry(session).or_default().by_server = Some((member, now));
    }

    /// Word of the session reaches a member, which may be the leader.
    pub fn on_leader(&mut self, session: i64, member: usize, timeout_ms: Option<i32>, now: u64) {
        let heard = self.sessions.entry(session).or_default();
        heard.by_leader = Some((member, now));
        if let Some(timeout_ms) = timeout_ms {
            heard.told = Some((member, now, timeout_ms));
        }
    }

    /// A member, which may be the leader, hears a connection that claims the session.
    pub fn on_hello(&mut self, session: i64, member: usize, timeout_ms: i32, now: u64) {
        self.sessions.entry(session).or_default().hellos.insert(member, (now, timeout_ms));
    }

    /// The client asks for this timeout, or was granted it.
    pub fn on_timeout(&mut self, session: i64, timeout_ms: i32, granted: bool) {
        let heard = self.sessions.entry(session).or_default();
        if heard.opened_ms == 0 {
            (heard.opened_ms, heard.asked_ms) = (timeout_ms, timeout_ms);
        }
        heard.timeout_ms = match heard.timeout_ms {
            0 => timeout_ms,
            // An answer to an earlier connection may be seen after the next one has asked for less.
            _ if granted => timeout_ms.min(heard.asked_ms),
            before => {
                heard.asked_ms = timeout_ms;
                before.min(timeout_ms)
            }
        };
    }

    pub fn fault_until(&mut self, at: u64) {
        self.last_fault = self.last_fault.max(at);
    }

    pub fn forget(&mut self, session: i64) {
        self.sessions.remove(&session);
    }

    /// The leader, which leads since `since`, proposes the end of a session that nobody asked for.
    pub fn judge(&self, session: i64, leader: usize, since: u64, now: u64) -> Result<(), String> {
        let Some(heard) = self.sessions.get(&session) else { return Ok(()) };
        let by_leader = heard.by_leader.filter(|(member, _)| *member == leader).map_or(0, |(_, at)| at);
        // A new leader has the timeout of the transaction until it hears of the session (as the reference's).
        let is_own = heard.by_server.is_some_and(|(member, at)| member == leader && at > since);
        let told = heard.told.filter(|(member, at, _)| *member == leader && *at > since);
        // What the client has said elsewhere since then counts as soon as the leader has been told of it.
        let latest = heard.hellos.values().map(|(at, _)| *at).max();
        let is_known_best = |at: u64| latest == Some(at) || told.is_none_or(|(_, told_at, _)| told_at < at);
        let hello = heard.hellos.get(&leader).filter(|(at, _)| *at > since && is_known_best(*at));
        let known_ms = match told {
            Some((_, _, told_ms)) => heard.timeout_ms.min(told_ms),
            None if is_own => heard.timeout_ms,
            None => heard.timeout_ms.min(heard.opened_ms),
        };
        let timeout_ms = hello.map_or(known_ms, |(_, asked_ms)| known_ms.min(*asked_ms));
        let timeout_us = timeout_ms as u64 * (1000 - 2 * DRIFT_PER_MILLE);
        // In a time without any fault all members are in touch with their leader.
        let passed_on = |at: u64| at > self.last_fault && at + self.grace_us < now;
        let by_server = heard.by_server.filter(|(_, at)| passed_on(*at)).map_or(0, |(_, at)| at);
        let least = since.max(by_leader).max(by_server);
        if now < least + timeout_us {
            return Err(format!(
                "session {session:#x} is ended by leader {leader} after {} of {} ms of silence: {heard:?}, it leads \
                 for {} ms (invariant 19)",
                (now - least) / 1000,
                timeout_ms,
                (now - since.min(now)) / 1000
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_the_last_word() {
        let mut ears = Ears::default();
        ears.on_timeout(7, 1000, true);
        assert!(ears.judge(7, 0, 0, 1_000_000).is_ok());
        assert!(ears.judge(7, 0, 500_000, 1_000_000).is_err(), "a new leader begins from the start");
        ears.on_leader(7, 0, None, 900_000);
        assert!(ears.judge(7, 0, 0, 1_000_000).is_err());
        assert!(ears.judge(7, 1, 0, 1_000_000).is_ok(), "another leader did not hear it");
        ears.on_server(7, 2, 900_000);
        assert!(ears.judge(7, 1, 0, 1_000_000).is_err());
        ears.grace_us = 200_000;
        assert!(ears.judge(7, 1, 0, 1_000_000).is_ok(), "it is not passed on yet");
        assert!(ears.judge(7, 1, 0, 1_200_000).is_err());
        ears.fault_until(950_000);
        ears.fault_until(800_000);
        assert!(ears.judge(7, 1, 0, 1_200_000).is_ok(), "word of it may not have got through");
    }

    #[test]
    fn a_leader_goes_by_the_connections_it_can_know_of() {
        let mut ears = Ears::default();
        ears.on_timeout(7, 1000, true);
        ears.on_hello(7, 1, 50, 910_000);
        ears.on_hello(7, 2, 1000, 920_000);
        assert!(ears.judge(7, 1, 900_000, 990_000).is_ok(), "it knows of no other connection");
        ears.on_leader(7, 1, Some(1000), 930_000);
        assert!(ears.judge(7, 1, 900_000, 990_000).is_err(), "now it does");
    }
}
