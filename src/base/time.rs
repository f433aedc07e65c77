//! Time as an argument: monotonic instants for timeouts, wall milliseconds for ctime and mtime alone.

/// A point of the driver's monotonic clock, in microseconds from an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Whole milliseconds since the clock's start.
    pub fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// This instant, `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Instant {
        Instant(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Microseconds from `earlier` to this; 0 if `earlier` is later.
    pub fn micros_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds from `earlier` to this; 0 if `earlier` is later.
    pub fn millis_since(self, earlier: Instant) -> u64 {
        self.micros_since(earlier) / 1000
    }
}

/// Milliseconds since the Unix epoch, as the server's wall clock has them. May jump either way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMs(pub i64);

/// Both clocks, read once per turn of a driver's loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono: Instant,
    pub wall: WallMs,
}
