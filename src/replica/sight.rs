//! What a witness with full knowledge may ask a replica: where its memory stands, and who lives in it.

use super::Replica;
use crate::base::{SessionId, Zxid};

impl Replica {
    /// The tree holds everything up to here, durable or not.
    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// Every live session with its timeout in milliseconds, by id.
    pub fn live_sessions(&self) -> Vec<(SessionId, i32)> {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_unstable();
        sessions
    }
}
