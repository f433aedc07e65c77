//! A clock that runs only while the server can hear its clients.
//!
//! A server that was stopped for a minute (a debugger, a suspended machine, a disk that hangs) finds a
//! minute of silence that proves nothing: the pings are waiting in its sockets. So a step of the clock longer
//! than two ticks counts as two ticks.

use std::collections::VecDeque;

use crate::base::Instant;

/// A stretch that was mostly not heard.
#[derive(Clone, Copy, Debug)]
struct Gap {
    end: Instant,
    /// Microseconds of it that do not count.
    deaf: u64,
}

#[derive(Debug)]
pub struct HearingClock {
    step_max: u64,
    last: Instant,
    /// All microseconds that did not count so far.
    deaf: u64,
    /// The latest gaps, to place instants before them; older reports than those do not come.
    gaps: VecDeque<Gap>,
}

const GAPS_MAX: usize = 16;

impl HearingClock {
    /// Starts at `now`, in agreement with the driver's clock.
    pub fn new(tick_ms: u64, now: Instant) -> HearingClock {
        HearingClock { step_max: 2 * tick_ms * 1000, last: now, deaf: 0, gaps: VecDeque::new() }
    }

    /// Time has come to `now`; the heard time is returned. A clock that goes back stands still.
    pub fn advance(&mut self, now: Instant) -> Instant {
        let deaf = now.micros_since(self.last).saturating_sub(self.step_max);
        self.last = self.last.max(now);
        if deaf > 0 {
            self.deaf += deaf;
            if self.gaps.len() == GAPS_MAX {
                self.gaps.pop_front();
            }
            self.gaps.push_back(Gap { end: now, deaf });
        }
        self.now()
    }

    /// The heard time of the last [`HearingClock::advance`].
    pub fn now(&self) -> Instant {
        Instant(self.last.0 - self.deaf)
    }

    /// The heard time of an instant of the driver's clock. Instants yet to come count as now.
    pub fn at(&self, when: Instant) -> Instant {
        let mut deaf = self.deaf;
        let mut latest = self.now();
        for gap in self.gaps.iter().rev() {
            if when >= gap.end {
                break;
            }
            latest = Instant(gap.end.0 - deaf);
            deaf -= gap.deaf;
        }
        Instant(when.0.saturating_sub(deaf)).min(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    #[test]
    fn a_stall_counts_as_two_ticks() {
        let mut clock = HearingClock::new(100, ms(1000));
        assert_eq!(clock.advance(ms(1150)), ms(1150));
        assert_eq!(clock.advance(ms(1350)), ms(1350));
        assert_eq!(clock.advance(ms(61_350)), ms(1550));
        assert_eq!(clock.advance(ms(61_000)), ms(1550));
        assert_eq!(clock.advance(ms(61_400)), ms(1600));
    }

    #[test]
    fn what_was_heard_before_a_stall_keeps_its_distance() {
        let mut clock = HearingClock::new(100, ms(0));
        clock.advance(ms(100));
        clock.advance(ms(10_100)); // heard time 300
        clock.advance(ms(10_200)); // 400
        clock.advance(ms(20_200)); // 600
        for (when, heard) in [
            (50, 50),
            (100, 100),
            (200, 200),
            (5_000, 300),
            (10_099, 300),
            (10_100, 300),
            (10_150, 350),
            (10_300, 500),
            (15_000, 600),
            (20_200, 600),
            (30_000, 600),
        ] {
            assert_eq!(clock.at(ms(when)), ms(heard), "{when}");
        }
    }
}
