//! `ringkeeper bench`: a load generator for any server that speaks ZooKeeper's client protocol.
//!
//! It is made to be cheap, because generator and server are usually compared on one machine: templates
//! instead of encoding, one epoll loop per thread, many requests per write and many replies per read, and
//! only the headers of replies looked at. It judges as it goes: an error code, a reply out of order, a lost
//! connection or a request without an answer makes the run fail.
//!
//!     wire      the generator's own jute, not shared with the server
//!     plan      workloads as templates
//!     session   blocking housekeeping: prepare, clean up, open many sessions
//!     conn      one loaded connection
//!     load      the loop, closed and open
//!     tally     histograms and counts
//!     measure   one-shot measurements: idle sessions, watchers, a million znodes, first read
//!     answers   the constant answers of a server without any state
//!     mirror    such a server: how fast is the generator itself?
//!     report    text and JSON
//!     system    CPU time and memory of a process, affinity, file limits

pub mod answers;
mod conn;
mod load;
mod measure;
mod mirror;
mod plan;
mod report;
mod session;
mod system;
mod tally;
pub mod wire;

use std::time::Duration;

/// What to ask of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Workload {
    /// getData of random keys
    Read,
    /// setData of random keys
    Write,
    /// getData and setData, --read-ratio to one
    Mixed,
    /// create of new znodes
    Create,
    /// create of a new znode, then delete of it, in turn
    Churn,
    /// getChildren2 of keys with --children children each
    List,
    /// exists of random keys
    Exists,
    /// multi of one check and one setData
    Multi,
}

/// One-shot measurements instead of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Measure {
    /// Resident bytes of the server per idle session (needs --server-pid and --connections)
    IdleSessions,
    /// Time from sending a setData until all --connections watchers of the znode were told
    Watchers,
    /// Creates --count znodes two levels deep and reports the server's memory per znode
    LoadZnodes,
    /// Waits until the server opens a session and answers a read; reports how long that took
    FirstRead,
    /// Load against a built-in server that answers constants: the generator's own limit
    Generator,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  ringkeeper bench --workload mixed --connections 128 --outstanding 16
  ringkeeper bench --rate 20000 --duration 60s            open loop, latency from when a request was due
  ringkeeper bench --server-pid $(pidof ringkeeper) --cpu 1 --json
  ringkeeper bench --measure idle-sessions --connections 10000 --server-pid 4711
  ringkeeper bench --measure load-znodes --count 1000000 --keep

A run makes a znode /bench-* for itself and removes it at the end. It fails (exit code 1) if any request
was answered with an error, out of order, or not at all, and if any connection was lost.

Connections are spread over all the servers; what goes through one connection alone (preparing, --measure
load-znodes) goes to the first.

CPU seconds are those of the processes --server-pid with all their threads, per million operations. Work that
the kernel does for them in interrupts or kernel threads is not in that figure.")]
pub struct BenchArgs {
    /// Servers as host:port[,host:port...]; connections are spread over them
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "HOST:PORT")]
    pub server: String,
    /// Connections, each with a session of its own
    #[arg(long, short = 'c', default_value_t = 128, value_name = "N")]
    pub connections: usize,
    /// Requests on their way at a time, per connection
    #[arg(long, short = 'k', default_value_t = 1, value_name = "K")]
    pub outstanding: usize,
    /// How long to measure, after the warm-up
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    pub duration: Duration,
    /// How long to run before measuring
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "TIME")]
    pub warmup: Duration,
    /// Znodes that requests choose from
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub keys: usize,
    /// Bytes of data in a znode
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub value_bytes: usize,
    /// What to ask
    #[arg(long, value_enum, default_value_t = Workload::Mixed)]
    pub workload: Workload,
    /// Reads per write in a mixed load
    #[arg(long, default_value_t = 10.0, value_name = "RATIO")]
    pub read_ratio: f64,
    /// Children of each key, for `list`
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub children: usize,
    /// Open loop: this many requests per second in all, whether the server keeps up or not
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Load threads; one is enough for some millions of operations per second
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: usize,
    /// Processors to pin the load threads to, like 1 or 2-5; a measurement uses the first
    #[arg(long, value_name = "CPUS")]
    pub cpu: Option<String>,
    /// Process id of the server, or of several, to report their CPU time and memory together
    #[arg(long, value_delimiter = ',', value_name = "PID[,PID...]")]
    pub server_pid: Vec<u32>,
    /// Session timeout to ask for
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "TIME")]
    pub session_timeout: Duration,
    /// A measurement instead of load
    #[arg(long, value_enum, value_name = "WHAT")]
    pub measure: Option<Measure>,
    /// Znodes to create, for load-znodes
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub count: u64,
    /// Repetitions, for watchers; the median is reported
    #[arg(long, default_value_t = 21, value_name = "N")]
    pub rounds: usize,
    /// Processor of the built-in server, for `--measure generator`
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    pub mirror_cpu: usize,
    /// Znode to work below, instead of one with a name of its own
    #[arg(long, value_name = "PATH")]
    pub root: Option<String>,
    /// Leave the znodes where they are
    #[arg(long)]
    pub keep: bool,
    /// One JSON object on standard output instead of text
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

impl BenchArgs {
    fn cpus(&self) -> Result<Vec<usize>, String> {
        self.cpu.as_deref().map_or(Ok(Vec::new()), system::parse_cpu_list)
    }

    fn session_timeout_ms(&self) -> u32 {
        self.session_timeout.as_millis().clamp(1, i32::MAX as u128) as u32
    }

    fn progress(&self, text: &str) {
        if !self.quiet {
            eprintln!("bench: {text}");
        }
    }

    /// The znode this run works below.
    fn root(&self) -> String {
        self.root.clone().unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("/bench-{:x}-{:x}", std::process::id(), since.as_millis())
        })
    }

    fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("--{name} {value}: must be between {low} and {high}"))
            }
        };
        range("connections", self.connections, 1, 1_000_000)?;
        range("outstanding", self.outstanding, 1, 100_000)?;
        range("threads", self.threads, 1, self.connections.min(256))?;
        range("keys", self.keys, 1, 9_999_999)?;
        range("value-bytes", self.value_bytes, 0, 1_000_000)?;
        range("rounds", self.rounds, 1, 100_000)?;
        if self.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
            return Err("--rate must be above zero".into());
        }
        if self.read_ratio.is_nan() || self.read_ratio < 0.0 {
            return Err("--read-ratio must not be negative".into());
        }
        if self.duration < Duration::from_millis(10) {
            return Err("--duration must be at least 10ms".into());
        }
        if self.root.as_ref().is_some_and(|root| !root.starts_with('/') || root.len() < 2 || root.ends_with('/')) {
            return Err("--root must be a path like /bench".into());
        }
        Ok(())
    }
}

/// Runs what the arguments ask for and prints its result.
/// An error is a message for the user; any wrong answer of the server is one.
pub fn run(args: BenchArgs) -> Result<(), String> {
    args.check()?;
    // Connections, housekeeping, epoll, standard streams.
    system::raise_file_limit(args.connections as u64 + 64)?;
    if let Some(cpu) = args.cpus()?.first()
        && !matches!(args.measure, None | Some(Measure::Generator))
    {
        // The one-shot measurements run on this thread; load has threads of its own.
        system::pin_to(*cpu)?;
    }
    match args.measure {
        None => load_and_report(&args),
        Some(Measure::IdleSessions) => measure::idle_sessions(&args),
        Some(Measure::Watchers) => measure::watchers(&args),
        Some(Measure::LoadZnodes) => measure::load_znodes(&args),
        Some(Measure::FirstRead) => measure::first_read(&args),
        Some(Measure::Generator) => {
            let mirror = mirror::Mirror::start(Some(args.mirror_cpu), args.value_bytes, mirror::Fault::None)?;
            load_and_report(&BenchArgs { server: mirror.address().to_string(), ..args })
        }
    }
}

fn load_and_report(args: &BenchArgs) -> Result<(), String> {
    let root = args.root();
    let outcome = measure::prepare(args, &root).and_then(|()| load::run(args, &root));
    let cleaned = measure::clean_up(args, &root);
    let outcome = outcome?;
    report::print_load(args, &outcome);
    match outcome.tally.error_count() {
        0 => cleaned,
        count => Err(format!("{count} requests were answered with an error")),
    }
}

/// Parses a time: `10s`, `250ms`, `2m`; a bare number means seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" => 60.0,
        _ => return Err(format!("`{text}` is no time (like 10s, 250ms, 2m)")),
    };
    match digits.parse::<f64>() {
        Ok(number) if (0.0..1e9).contains(&number) => Ok(Duration::from_secs_f64(number * unit)),
        _ => Err(format!("`{text}` is no time (like 10s, 250ms, 2m)")),
    }
}

#[cfg(test)]
mod tests;
