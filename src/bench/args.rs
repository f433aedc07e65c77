//! The command line of `ringkeeper bench`.

use std::path::PathBuf;
use std::time::Duration;

use super::mix::spec::{Spec, Terms};
use super::mix::{clickhouse, keeper_bench};
use super::system;

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
    /// ClickHouse's read_requests: get 90 %, list 10 %
    ClickhouseRead,
    /// ClickHouse's list_heavy_requests: list 75 %, get 25 %
    ClickhouseReadList,
    /// ClickHouse's single_hot_get: get of one znode
    ClickhouseHotGet,
    /// ClickHouse's write_requests: create 60 % (49 % of them removes), set 40 %
    ClickhouseWrite,
    /// ClickHouse's churn_requests: create 80 % (70 % of them removes), set 20 %
    ClickhouseChurn,
    /// ClickHouse's prod_mix: get 38, create 34 (49 % of them removes), set 9, multi of 3 to 7 11, list 4, of 96
    ClickhouseProdMix,
    /// ClickHouse's large_payload: the prod mix with values of 1 to 4 KiB
    ClickhouseLargeValues,
    /// ClickHouse's write_multi_requests: create 25 % (49 % of them removes), set 25 %, multi of 5 to 15 50 %
    ClickhouseWriteMulti,
    /// ClickHouse's multi_large_requests: multi of 10 to 30, creates and sets in equal parts
    ClickhouseLargeMulti,
}

/// What disturbs the load while it is measured. Each works on a connection and a thread of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Beside {
    /// 1,000 clients connect at once, and leave again; once a second
    ConnectStorm,
    /// A setData of 900 kB, four times a second
    BigWrites,
    /// getChildren of a znode with 100,000 children, ten times a second
    BigList,
    /// A client asks for 58 MB of data and takes none of it
    SilentReader,
}

/// One-shot measurements instead of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Measure {
    /// Resident bytes of the server per idle session (needs --server-pid and --connections)
    IdleSessions,
    /// Time from sending a setData until all --connections watchers of the znode were told
    Watchers,
    /// Resident bytes of the server per data watch: --count of them, set by --connections sessions that each watch
    /// all of the same znodes (needs --server-pid, and a server just started, which has no memory to use again)
    Watches,
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
  ringkeeper bench --workload clickhouse-prod-mix --duration 60s
  ringkeeper bench --keeper-bench prod_mix.yaml --server 127.0.0.1:9181
  ringkeeper bench --rate 20000 --beside connect-storm      tails under a disturbance

A run makes a znode /bench-* for itself and removes it at the end. It fails (exit code 1) if any request
was answered with an error, out of order, or not at all, and if any connection was lost.

The clickhouse-* workloads are those of ClickHouse's tests/stress/keeper: values of 0 to 162 bytes, 640
connections. --keeper-bench reads the configuration of ClickHouse's keeper-bench. Its paths are taken below the
run's own znode; its concurrency is the number of connections or, where it gives sessions, so many requests on
their way over those. What the command line says counts more than what a mix says.

A disturbance (--beside) begins with the window that counts and shares the processors of --cpu with the load. A
snapshot is no disturbance that a client can ask for: provoke it by writing as much as snapCount, or see what
the server offers.

A watch belongs to its connection: --measure watchers needs as many connections as watchers. Above 20,000 to a
server on this machine they come from 127.0.0.2 and so on, as many as files may be open (ulimit -n) on both
sides; count with some 10 kB of kernel memory for each end of a connection.

Connections are spread over all the servers; what goes through one connection alone (preparing, --measure
load-znodes) goes to the first.

CPU seconds are those of the processes --server-pid with all their threads, per million operations. Work that
the kernel does for them in interrupts or kernel threads is not in that figure.")]
pub struct BenchArgs {
    /// Servers as host:port[,host:port...]; connections are spread over them [default: 127.0.0.1:2181]
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// Connections, each with a session of its own [default: 128]
    #[arg(long, short = 'c', value_name = "N")]
    pub connections: Option<usize>,
    /// Requests on their way at a time, per connection [default: 1]
    #[arg(long, short = 'k', value_name = "K")]
    pub outstanding: Option<usize>,
    /// How long to measure, after the warm-up [default: 10s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// How long to run before measuring [default: 2s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub warmup: Option<Duration>,
    /// Znodes that requests choose from
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub keys: usize,
    /// Bytes of data in a znode
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub value_bytes: usize,
    /// What to ask
    #[arg(long, value_enum, default_value_t = Workload::Mixed)]
    pub workload: Workload,
    /// A keeper-bench configuration to take setup and requests from, instead of a workload
    #[arg(long, conflicts_with_all = ["workload", "measure"], value_name = "FILE.yaml")]
    pub keeper_bench: Option<PathBuf>,
    /// What disturbs the load while it is measured
    #[arg(long, value_enum, conflicts_with = "measure", value_name = "WHAT")]
    pub beside: Option<Beside>,
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
    /// Session timeout to ask for [default: 30s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub session_timeout: Option<Duration>,
    /// A measurement instead of load
    #[arg(long, value_enum, value_name = "WHAT")]
    pub measure: Option<Measure>,
    /// Znodes to create, for load-znodes; watches to set, for watches
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
    pub fn cpus(&self) -> Result<Vec<usize>, String> {
        self.cpu.as_deref().map_or(Ok(Vec::new()), system::parse_cpu_list)
    }

    pub fn server(&self) -> &str {
        self.server.as_deref().unwrap_or("127.0.0.1:2181")
    }

    pub fn connections(&self) -> usize {
        self.connections.unwrap_or(128)
    }

    pub fn outstanding(&self) -> usize {
        self.outstanding.unwrap_or(1)
    }

    pub fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    pub fn warmup(&self) -> Duration {
        self.warmup.unwrap_or(Duration::from_secs(2))
    }

    pub fn session_timeout_ms(&self) -> u32 {
        let timeout = self.session_timeout.unwrap_or(Duration::from_secs(30));
        timeout.as_millis().clamp(1, i32::MAX as u128) as u32
    }

    /// The mix to run, if it is one: by name or from a file.
    pub fn mix(&self) -> Result<Option<Spec>, String> {
        let Some(file) = &self.keeper_bench else { return Ok(clickhouse::spec(self.workload)) };
        let name = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {name}: {e}"))?;
        keeper_bench::parse(&text).map(Some).map_err(|e| format!("{name}: {e}"))
    }

    pub fn is_mix(&self) -> bool {
        self.keeper_bench.is_some() || clickhouse::spec(self.workload).is_some()
    }

    /// Takes over how a mix is meant to be run, where the command line does not say.
    pub fn accept(&mut self, terms: &Terms) {
        self.server = self.server.take().or_else(|| terms.servers.clone());
        self.connections = self.connections.or(terms.connections);
        self.outstanding = self.outstanding.or(terms.outstanding);
        self.warmup = self.warmup.or(terms.warmup_s.map(Duration::from_secs_f64));
        self.duration = self.duration.or(terms.duration_s.map(Duration::from_secs_f64));
        self.session_timeout = self.session_timeout.or(terms.session_timeout_ms.map(Duration::from_millis));
        for note in &terms.notes {
            self.progress(note);
        }
    }

    /// What this run asks, for its report.
    pub fn workload_name(&self) -> String {
        match (&self.keeper_bench, clap::ValueEnum::to_possible_value(&self.workload)) {
            (Some(file), _) => file.display().to_string(),
            (None, name) => name.map(|name| name.get_name().to_string()).unwrap_or_default(),
        }
    }

    pub fn progress(&self, text: &str) {
        if !self.quiet {
            eprintln!("bench: {text}");
        }
    }

    /// The znode this run works below.
    pub fn root(&self) -> String {
        self.root.clone().unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("/bench-{:x}-{:x}", std::process::id(), since.as_millis())
        })
    }

    pub fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("--{name} {value}: must be between {low} and {high}"))
            }
        };
        range("connections", self.connections(), 1, 1_000_000)?;
        range("outstanding", self.outstanding(), 1, 100_000)?;
        range("threads", self.threads, 1, self.connections().min(256))?;
        range("keys", self.keys, 1, 9_999_999)?;
        range("value-bytes", self.value_bytes, 0, 1_000_000)?;
        range("rounds", self.rounds, 1, 100_000)?;
        if self.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
            return Err("--rate must be above zero".into());
        }
        if self.read_ratio.is_nan() || self.read_ratio < 0.0 {
            return Err("--read-ratio must not be negative".into());
        }
        if self.duration() < Duration::from_millis(10) {
            return Err("--duration must be at least 10ms".into());
        }
        if self.root.as_ref().is_some_and(|root| !root.starts_with('/') || root.len() < 2 || root.ends_with('/')) {
            return Err("--root must be a path like /bench".into());
        }
        Ok(())
    }
}

/// Parses a time: `10s`, `250ms`, `2m`; a bare number means seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
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
