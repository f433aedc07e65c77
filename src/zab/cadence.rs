//! How long a leader may be silent before it is left.
//!
//! A leader of the reference speaks every half tick, ours many times as often. The limit follows the cadence that is
//! really heard, so a silent leader of ours is noticed in a second or so, while one of the reference keeps its
//! `syncLimit`. Only time in which we could hear counts: after a pause of our own the bytes are waiting to be read.

use std::collections::VecDeque;

use crate::base::Instant;

/// Silences this many times as long as usual are no accident.
const TIMES: u64 = 10;

/// Pings that tell a cadence: so many are remembered, and so many must have come.
const GAPS_MAX: usize = 9;
const GAPS_MIN: usize = 2; // Their longer one counts: a first pair of pings may come at once after a stall.

/// The part of `syncLimit` that a leader may be silent before its cadence is known.
const UNKNOWN_PART: u64 = 4;

/// Never hasty: a busy machine is silent for this long now and then.
const LIMIT_MIN_MS: u64 = 1_000;

/// A step of the clock counts for no more than this: longer ones are our own pauses.
const STEP_MAX_MS: u64 = 150;

#[derive(Debug)]
pub struct Cadence {
    sync_ms: u64,
    /// The latest distances of pings, in microseconds. Their median is the cadence: a stall, and the burst of late
    /// pings behind it, are neither.
    gaps_us: VecDeque<u64>,
    last_ping: Option<Instant>,
    last_look: Instant,
    silent_ms: u64,
}

impl Cadence {
    pub fn new(sync_ms: u64, now: Instant) -> Cadence {
        Cadence { sync_ms, gaps_us: VecDeque::new(), last_ping: None, last_look: now, silent_ms: 0 }
    }

    /// Synchronized: pings come from now on.
    pub fn begin(&mut self, now: Instant) {
        self.last_ping = None;
        self.heard(now);
    }

    /// Something came.
    pub fn heard(&mut self, now: Instant) {
        self.silent_ms = 0;
        self.last_look = now;
    }

    /// A ping came.
    pub fn spoke(&mut self, now: Instant) {
        if let Some(last) = self.last_ping.replace(now) {
            let gap = now.micros_since(last);
            if self.gaps_us.len() == GAPS_MAX {
                self.gaps_us.pop_front();
            }
            self.gaps_us.push_back(gap);
        }
    }

    /// Milliseconds of silence, as far as we were awake for it. Call it every 100 ms or so.
    pub fn silent_ms(&mut self, now: Instant) -> u64 {
        self.silent_ms += now.millis_since(self.last_look).min(STEP_MAX_MS);
        if now.millis_since(self.last_look) > 0 {
            self.last_look = now;
        }
        self.silent_ms
    }

    pub fn limit_ms(&self) -> u64 {
        if self.gaps_us.len() < GAPS_MIN {
            // Not known yet: several pings of a leader of the reference with the usual limits, many of ours.
            return (self.sync_ms / UNKNOWN_PART).max(LIMIT_MIN_MS.min(self.sync_ms));
        }
        let mut gaps: Vec<u64> = self.gaps_us.iter().copied().collect();
        gaps.sort_unstable();
        let usual_ms = gaps[gaps.len() / 2] / 1000;
        (TIMES * usual_ms).clamp(LIMIT_MIN_MS.min(self.sync_ms), self.sync_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn after_pings(every_ms: u64) -> Cadence {
        let mut cadence = Cadence::new(10_000, at(0));
        for n in 1..=20 {
            cadence.heard(at(n * every_ms));
            cadence.spoke(at(n * every_ms));
        }
        cadence
    }

    #[test]
    fn a_talkative_leader_is_missed_soon_and_one_of_the_reference_only_at_its_limit() {
        assert_eq!(after_pings(100).limit_ms(), 1_000);
        assert_eq!(after_pings(200).limit_ms(), 2_000);
        assert_eq!(after_pings(1_000).limit_ms(), 10_000);
        assert_eq!(Cadence::new(10_000, at(0)).limit_ms(), 2_500);
    }

    #[test]
    fn a_stall_and_the_burst_behind_it_change_nothing() {
        for (every_ms, limit_ms) in [(100, 1_000), (1_000, 10_000)] {
            let mut cadence = after_pings(every_ms);
            for late in [3_000, 3_001, 3_002] {
                cadence.spoke(at(20 * every_ms + late));
            }
            assert_eq!(cadence.limit_ms(), limit_ms);
        }
    }

    #[test]
    fn our_own_pause_is_not_the_leaders_silence() {
        let mut cadence = after_pings(100);
        assert_eq!(cadence.silent_ms(at(62_000)), STEP_MAX_MS);
        for n in 1..=5 {
            assert_eq!(cadence.silent_ms(at(62_000 + n * 100)), STEP_MAX_MS + n * 100);
        }
        cadence.heard(at(62_600));
        assert_eq!(cadence.silent_ms(at(62_700)), 100);
    }
}
