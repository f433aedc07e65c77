//! How far the silence of clients is real: time in which this server was able to hear them.
//!
//! A pause of the server, or of one shard, must never expire a session (decision: expiry counts only time in
//! which the server could hear). Deadlines are therefore set and judged on a [`HearingClock`], and no further
//! than every shard has confirmed that it read all that had arrived.

use crate::base::{Instant, ShardId};
use crate::session::HearingClock;

pub(super) struct Hearing {
    clock: HearingClock,
    last_advance: Instant,
    /// Up to when each shard has read everything, in hearing time.
    confirmed: Vec<Instant>,
}

impl Hearing {
    pub(super) fn new(tick_ms: u64, shard_count: u16, now: Instant) -> Hearing {
        let mut clock = HearingClock::new(tick_ms);
        clock.advance(now);
        let confirmed = vec![clock.now(); usize::from(shard_count)];
        Hearing { clock, last_advance: now, confirmed }
    }

    /// Called at least every tick; a longer gap was a stall and counts as two ticks at most.
    pub(super) fn advance(&mut self, now: Instant) {
        self.clock.advance(now);
        self.last_advance = self.last_advance.max(now);
    }

    /// Now, in hearing time: what a touch counts from.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// `shard` has read every byte that had arrived by `through` (driver's clock).
    pub(super) fn shard_heard(&mut self, shard: ShardId, through: Instant) {
        let behind = self.last_advance.micros_since(through);
        let heard = Instant(self.clock.now().0.saturating_sub(behind));
        let confirmed = &mut self.confirmed[usize::from(shard.0)];
        *confirmed = heard.max(*confirmed);
    }

    /// The hearing time up to which silence is real on every shard.
    pub(super) fn confirmed(&self) -> Instant {
        self.confirmed.iter().copied().min().unwrap_or(self.clock.now())
    }
}
