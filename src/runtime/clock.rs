//! `Now`, read once per turn: the monotonic clock for timeouts, the wall clock for ctime and mtime.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::base::{Instant, Now, WallMs};

/// Both clocks. CLOCK_MONOTONIC counts from the machine's start, so all executors agree on it.
pub fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let micros = mono.tv_sec as u64 * 1_000_000 + mono.tv_nsec as u64 / 1000;
    Now { mono: Instant(micros), wall: wall() }
}

fn wall() -> WallMs {
    // A clock set before 1970 gives negative milliseconds, as Java's would.
    WallMs(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_move_and_the_wall_is_this_century() {
        let first = now();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let second = now();
        assert!(second.mono.millis_since(first.mono) >= 3);
        assert!(first.wall.0 > 1_700_000_000_000);
    }
}
