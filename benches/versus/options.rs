//! The command line of the comparison.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Which of the two servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    Apache,
    Ringkeeper,
}

/// Compares Apache ZooKeeper and ringkeeper under the same load.
#[derive(Parser, Debug)]
#[command(name = "versus")]
pub struct Options {
    /// Short rounds: shows that everything works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// Three servers against three, in place of one against one
    #[arg(long)]
    pub ensemble: bool,
    /// Rows to measure: {reads|mixed|writes}-CONNECTIONSxOUTSTANDING; of single servers znodes (with restart), sessions,
    /// watchers; of ensembles idle, fill, and -follower after a load of few connections
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Measure only one of the two
    #[arg(long, value_enum)]
    pub only: Option<Kind>,
    /// How to start the candidate; {cfg} stands for the path of its zoo.cfg [default: this build, `serve {cfg}`]
    #[arg(long, value_name = "COMMAND")]
    pub candidate_cmd: Option<String>,
    /// Line to add to the candidate's zoo.cfg; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub candidate_cfg: Vec<String>,
    /// Rounds per row and server [default: 5; quick: 1]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Seconds of a round that count [default: 10; quick: 2]
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Seconds of load that each server gets before the first round, so that the JVM has compiled its code [default: 20; an
    /// ensemble, whose three JVMs share the processor: 60]
    #[arg(long, value_name = "SECONDS")]
    pub warm_up: Option<u64>,
    /// Processor(s) of the server, or of all three, as taskset writes them
    #[arg(long, default_value = "0", value_name = "CPUS")]
    pub server_cpu: String,
    /// Processor of the load generator
    #[arg(long, default_value_t = 1, value_name = "CPU")]
    pub bench_cpu: usize,
    /// Where the servers keep their data; on a real disk
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/versus"), value_name = "DIR")]
    pub dir: PathBuf,
    /// Options of Apache's JVM
    #[arg(long, default_value = "-Xmx1000m", allow_hyphen_values = true, value_name = "OPTIONS")]
    pub jvm: String,
    /// Options of Apache's JVM for the rows `znodes` and `fill`, to whose data its usual heap would be a tight fit
    #[arg(long, default_value = "-Xmx3000m", allow_hyphen_values = true, value_name = "OPTIONS")]
    pub jvm_znodes: String,
    /// Znodes of the rows `znodes` and `fill`
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub znodes: u64,
    /// Idle sessions of the row `sessions`
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub sessions: u64,
    /// Watchers of the row `watchers`
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub watchers: u64,
    /// A round counts as disturbed if others used more than this share of a processor
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    pub noise: f64,
    /// How often a disturbed round is repeated before it is taken as it is, with a mark
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub repeats: usize,
    /// Keep data and logs of the servers
    #[arg(long)]
    pub keep: bool,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A load row: what, over how many connections, with how many requests each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub workload: &'static str,
    pub connections: usize,
    pub outstanding: usize,
    /// In an ensemble: the first connections go to followers, where otherwise the first is the leader's.
    pub at_follower: bool,
}

impl Load {
    pub fn title(&self) -> String {
        let name = match self.workload {
            "read" => "reads",
            "write" => "writes",
            _ => "10:1",
        };
        let place = if self.at_follower { " at a follower" } else { "" };
        format!("{name} {} x {}{place}", self.connections, self.outstanding)
    }

    /// The part of the generator's report whose latency this row is about.
    pub fn latency_of(&self) -> &'static str {
        match self.workload {
            "read" => "reads",
            "write" => "writes",
            _ => "all",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Row {
    Load(Load),
    Znodes,
    Sessions,
    Watchers,
    Idle,
    Fill,
}

impl Row {
    pub fn load(&self) -> Option<Load> {
        match self {
            Row::Load(load) => Some(load.clone()),
            _ => None,
        }
    }

    fn parse(text: &str, ensemble: bool) -> Result<Row, String> {
        match (text, ensemble) {
            ("znodes", false) => return Ok(Row::Znodes),
            ("sessions", false) => return Ok(Row::Sessions),
            ("watchers", false) => return Ok(Row::Watchers),
            ("idle", true) => return Ok(Row::Idle),
            ("fill", true) => return Ok(Row::Fill),
            _ => {}
        }
        let parsed = || {
            let (name, size) = text.split_once('-')?;
            let (size, at_follower) = size.strip_suffix("-follower").map_or((size, false), |size| (size, ensemble));
            let workload = match name {
                "reads" => "read",
                "writes" => "write",
                "mixed" => "mixed",
                _ => return None,
            };
            let (connections, outstanding) = size.split_once('x')?;
            let (connections, outstanding) = (connections.parse().ok()?, outstanding.parse().ok()?);
            Some(Row::Load(Load { workload, connections, outstanding, at_follower }))
        };
        let others = if ensemble { "writes-1x1-follower, idle, fill" } else { "znodes, sessions, watchers" };
        parsed().ok_or(format!("no such row: `{text}` (like reads-128x16, mixed-128x1, writes-1x1, {others})"))
    }
}

const ALL: [&str; 11] = [
    "reads-128x1",
    "reads-128x16",
    "mixed-128x1",
    "mixed-128x16",
    "writes-1x1",
    "writes-16x1",
    "writes-128x1",
    "writes-128x16",
    "znodes",
    "sessions",
    "watchers",
];

const ALL_OF_ENSEMBLES: [&str; 8] = [
    "mixed-128x1",
    "mixed-128x16",
    "writes-1x1",
    "writes-1x1-follower",
    "writes-128x1",
    "writes-128x16",
    "idle",
    "fill",
];

impl Options {
    pub fn rows(&self) -> Result<Vec<Row>, String> {
        let all: &[&str] = if self.ensemble { &ALL_OF_ENSEMBLES } else { &ALL };
        let all: Vec<String> = all.iter().copied().map(String::from).collect();
        let names = if self.rows.is_empty() { &all } else { &self.rows };
        names.iter().map(|name| Row::parse(name, self.ensemble)).collect()
    }

    pub fn kinds(&self) -> Vec<Kind> {
        self.only.map_or(vec![Kind::Apache, Kind::Ringkeeper], |kind| vec![kind])
    }

    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 2 } else { 10 }))
    }

    pub fn warm_up(&self) -> Duration {
        let usual = if self.ensemble { 60 } else { 20 };
        Duration::from_secs(self.warm_up.unwrap_or(if self.quick { 5 } else { usual }))
    }

    /// Rounds of the measurements that start servers anew.
    pub fn single_rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).min(3)
    }

    pub fn check(&self) -> Result<(), String> {
        if cfg!(debug_assertions) {
            return Err("this is a debug build; measure with `cargo bench --bench versus`".into());
        }
        if self.rounds == Some(0) || self.seconds == Some(0) {
            return Err("--rounds and --seconds must be at least 1".into());
        }
        Ok(())
    }
}
