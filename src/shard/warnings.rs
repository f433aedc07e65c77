//! One line in the log for each connection closed for a cause, but never a flood of them.

use std::net::SocketAddr;

use crate::base::{Instant, SessionId};

/// At most [`Warnings::PER_SECOND`] lines a second; the next line after a flood says how many were left out.
#[derive(Debug, Default)]
pub struct Warnings {
    second: u64,
    written: u32,
    left_out: u64,
}

impl Warnings {
    pub const PER_SECOND: u32 = 10;

    /// Whether a line may be written now, and how many were left out before it.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        let second = now.0 / 1_000_000;
        if second != self.second {
            (self.second, self.written) = (second, 0);
        }
        if self.written >= Self::PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    pub fn closed(&mut self, peer: SocketAddr, session: SessionId, reason: &str, now: Instant) {
        if let Some(left_out) = self.allow(now) {
            tracing::warn!(%peer, %session, reason, left_out, "closing a client's connection");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_instead_of_written() {
        let mut warnings = Warnings::default();
        let written = (0..100).filter(|_| warnings.allow(Instant(5)).is_some()).count();
        assert_eq!(written, Warnings::PER_SECOND as usize);
        assert_eq!(warnings.allow(Instant(1_000_005)), Some(90));
        assert_eq!(warnings.allow(Instant(1_000_006)), Some(0));
    }
}
