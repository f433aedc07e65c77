//! Which nights a test of a simulator lives through, and how far it is.

/// A number from the environment, if it is there.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Says now and then how far a long run is. `done`: seeds begun.
pub fn tell(done: u64, count: u64) {
    if count > 1000 && done.is_multiple_of(1000) {
        eprintln!("{done} of {count} seeds");
    }
}
