//! What was measured: latencies in two histograms, counts, errors.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::plan::Kind;

/// Latencies are kept in nanoseconds between these bounds, with three digits.
const LATENCY_MIN: u64 = 100;
const LATENCY_MAX: u64 = 300_000_000_000;

/// A histogram as all parts of the run use it.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN, LATENCY_MAX, 3).expect("bounds in order")
}

/// Which requests belong to the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// Those answered in it: what a server got done (closed loop).
    ByAnswer,
    /// Those due in it, however late they are answered: else the slow ones at its end would be missing (open loop).
    ByDue,
}

/// Lives on: one load thread; merged at the end.
pub struct Tally {
    /// The window that counts, in nanoseconds of the run's clock.
    begin: u64,
    end: u64,
    by: Counted,
    pub latency: [Histogram<u64>; 2],
    /// Requests that count.
    pub count: [u64; 2],
    /// Requests answered at all, for progress.
    pub total: u64,
    /// Answers that carried an error, by code, at any time.
    pub errors: BTreeMap<i32, u64>,
    /// Open loop: requests that were due in the window but could not even be sent in it.
    pub unsent: u64,
    /// Neighbouring replies that started together, not yet in the histogram: (start, how many).
    run: [(u64, u64); 2],
}

impl Tally {
    pub fn new(begin: u64, end: u64, by: Counted) -> Self {
        Tally {
            begin,
            end,
            by,
            latency: [histogram(), histogram()],
            count: [0; 2],
            total: 0,
            errors: BTreeMap::new(),
            unsent: 0,
            run: [(0, 0); 2],
        }
    }

    /// A request of `kind` whose latency counts from `start` was answered at `now`.
    #[inline]
    pub fn answered(&mut self, kind: Kind, start: u64, now: u64) {
        self.total += 1;
        let run = &mut self.run[kind as usize];
        if run.0 == start {
            run.1 += 1;
            return;
        }
        let before = std::mem::replace(run, (start, 1));
        self.record(kind, before, now);
    }

    /// To be called with the same `now` after a batch of answers: nothing of it may stay aside.
    #[inline]
    pub fn settle(&mut self, now: u64) {
        for kind in [Kind::Read, Kind::Write] {
            let run = std::mem::take(&mut self.run[kind as usize]);
            self.record(kind, run, now);
        }
    }

    #[inline]
    fn record(&mut self, kind: Kind, (start, how_many): (u64, u64), now: u64) {
        let moment = if self.by == Counted::ByAnswer { now } else { start };
        if how_many == 0 || moment < self.begin || moment >= self.end {
            return;
        }
        self.count[kind as usize] += how_many;
        self.latency[kind as usize].saturating_record_n(now.saturating_sub(start), how_many);
    }

    /// A request due at `start` was still not sent at the end of the window: it has waited this long at least.
    pub fn never_sent(&mut self, kind: Kind, start: u64) {
        self.unsent += 1;
        self.latency[kind as usize].saturating_record(self.end.saturating_sub(start));
    }

    #[cold]
    pub fn error(&mut self, code: i32) {
        *self.errors.entry(code).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Tally) {
        for kind in 0..2 {
            self.latency[kind].add(&other.latency[kind]).expect("the same bounds");
            self.count[kind] += other.count[kind];
        }
        self.total += other.total;
        self.unsent += other.unsent;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts_and_runs_are_complete() {
        let mut tally = Tally::new(1_000, 2_000, Counted::ByAnswer);
        tally.answered(Kind::Read, 100, 500);
        tally.settle(500);
        for _ in 0..5 {
            tally.answered(Kind::Read, 1_000, 1_500);
            tally.answered(Kind::Write, 1_100, 1_500);
        }
        tally.answered(Kind::Read, 1_200, 1_500);
        tally.settle(1_500);
        tally.answered(Kind::Write, 1_900, 2_000);
        tally.settle(2_000);
        assert_eq!(tally.count, [6, 5]);
        assert_eq!(tally.latency[0].len(), 6);
        assert!(tally.latency[0].max().abs_diff(500) < 64, "within the histogram's resolution");
        assert_eq!(tally.latency[1].len(), 5);
        assert_eq!(tally.total, 13);
    }

    #[test]
    fn an_open_loop_counts_what_was_due_in_the_window_however_late() {
        let mut tally = Tally::new(1_000, 2_000, Counted::ByDue);
        tally.answered(Kind::Read, 900, 1_500);
        tally.answered(Kind::Read, 1_999, 900_000);
        tally.answered(Kind::Read, 2_000, 900_000);
        tally.settle(900_000);
        assert_eq!(tally.count, [1, 0]);
        assert!(tally.latency[0].max().abs_diff(898_001) < 1_000);
    }
}
