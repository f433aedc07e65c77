//! File descriptors: as many as the process may have, and a table that has room for them from the start.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many the table has room for from the start: half a mebibyte of the kernel's memory.
const TABLE: u64 = 1 << 16;

/// Raises the soft limit of open files to the hard one, as the JVM does, and makes the kernel's table of them large.
/// Returns the limit. Call it while the process has one thread.
///
/// The kernel doubles a table that is full, and in a process with threads it waits for every CPU to have let go of the old one:
/// `accept` then takes 15 to 25 ms, three times while the first thousand clients connect, and nobody is served meanwhile.
/// A table never shrinks.
pub fn make_room() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = getrlimit(Resource::Nofile);
        }
    }
    let limit = limit.current.unwrap_or(u64::MAX);
    // A descriptor with the highest number there may be, for a moment. Without it the server is slower, not wrong.
    if let Ok(any) = eventfd(0, EventfdFlags::CLOEXEC) {
        let _ = fcntl_dupfd_cloexec(&any, limit.min(TABLE).saturating_sub(1) as i32);
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel tells the size of the table as `FDSize`.
    #[test]
    fn the_table_has_room() {
        let limit = make_room();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= limit.min(TABLE), "{size} for {limit}");
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
    }
}
