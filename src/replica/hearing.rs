//! How far the silence of clients is real: time in which this server was able to hear them.
//!
//! A pause of the server, or of one shard, must never expire a session (decision: expiry counts only time in
//! which the server could hear). Deadlines are therefore set and judged on a [`HearingClock`], and no further
//! than every shard has confirmed that it read all that had arrived.

use crate::base::{Instant, ShardId};
use crate::session::HearingClock;

pub(super) struct Hearing {
    clock: HearingClock,
    /// Up to when each shard has read everything, in hearing time.
    confirmed: Vec<Instant>,
}

impl Hearing {
    /// `step_ms`: how often [`Hearing::advance`] is called; a much longer gap was a stall and hardly counts.
    pub(super) fn new(step_ms: u64, shard_count: u16, now: Instant) -> Hearing {
        let clock = HearingClock::new(step_ms, now);
        let confirmed = vec![clock.now(); usize::from(shard_count)];
        Hearing { clock, confirmed }
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.clock.advance(now);
    }

    /// Now, in hearing time: what a new deadline counts from.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// An instant of the driver's clock, in hearing time.
    pub(super) fn at(&self, when: Instant) -> Instant {
        self.clock.at(when)
    }

    /// `shard` has read every byte that had arrived by `through` (driver's clock).
    pub(super) fn shard_heard(&mut self, shard: ShardId, through: Instant) {
        let heard = self.clock.at(through);
        let confirmed = &mut self.confirmed[usize::from(shard.0)];
        *confirmed = heard.max(*confirmed);
    }

    /// The hearing time up to which silence is real on every shard.
    pub(super) fn confirmed(&self) -> Instant {
        self.confirmed.iter().copied().min().unwrap_or(self.clock.now())
    }
}
