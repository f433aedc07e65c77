//! One night of any world: what it is made of, what it comes to, and how a bad one is told.

/// `S`: what may be broken on purpose in that world.
#[derive(Clone, Copy, Debug)]
pub struct Options<S> {
    pub seed: u64,
    pub sabotage: Option<S>,
    /// Keep the last lines of what happened.
    pub trace: bool,
}

/// A promise was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The test that lives through it again.
    pub test: &'static str,
    pub seed: u64,
    pub step: u64,
    pub what: String,
    pub trace: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Violation { test, seed, step, what, .. } = self;
        writeln!(f, "seed {seed} broke a promise at step {step}: {what}")?;
        write!(f, "replay: RINGKEEPER_SEED={seed} cargo test --release --test {test} replay -- --nocapture")
    }
}

/// Lives through a night with `run`, and through a bad one again with a trace.
pub(super) fn live_through<S: Copy, T: std::fmt::Debug>(
    options: Options<S>,
    run: impl Fn(Options<S>) -> Result<T, Violation>,
) -> Result<T, Box<Violation>> {
    run(options).map_err(|violation| match run(Options { trace: true, ..options }) {
        Err(traced) if traced.what == violation.what => Box::new(traced),
        // The second run must be the first to the byte; that it was not is worse news than the violation.
        other => {
            Box::new(Violation { what: format!("{}; and the replay differs: {other:?}", violation.what), ..violation })
        }
    })
}
