//! The command line of the comparison.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::floor::FloorArgs;

/// What is compared: two servers, and the floor on either of its engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    Apache,
    FloorEpoll,
    FloorUring,
    Ringkeeper,
}

impl Kind {
    pub fn is_floor(self) -> bool {
        matches!(self, Kind::FloorEpoll | Kind::FloorUring)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Apache => "Apache",
            Kind::FloorEpoll => "floor, epoll",
            Kind::FloorUring => "floor, io_uring",
            Kind::Ringkeeper => "ringkeeper",
        })
    }
}

/// What this binary also is: a party to the comparison, started by itself.
#[derive(clap::Subcommand, Debug)]
pub enum Role {
    /// Serves as the floor until killed
    #[command(hide = true)]
    Floor(FloorArgs),
}

/// Compares Apache ZooKeeper and ringkeeper under the same load, with the floor beside them.
#[derive(Parser, Debug)]
#[command(name = "versus", args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub role: Option<Role>,
    /// Short rounds: shows that everything works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// Three servers against three, in place of one against one
    #[arg(long)]
    pub ensemble: bool,
    /// One against one, then three against three: every figure there is
    #[arg(long, conflicts_with_all = ["ensemble", "rows", "only"])]
    pub whole: bool,
    /// Rows to measure: {reads|mixed|writes}-CONNECTIONSxOUTSTANDING, of single servers with -spin for the latency profile, of
    /// ensembles with -follower; of single servers znodes, start, sessions, watchers, tails; of ensembles idle, fill
    #[arg(long, value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Measure only these [default: all; of ensembles there is no floor]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub only: Vec<Kind>,
    /// How to start the candidate; {cfg} stands for the path of its zoo.cfg [default: this build, `serve {cfg}`]
    #[arg(long, value_name = "COMMAND")]
    pub candidate_cmd: Option<String>,
    /// Line to add to the candidate's zoo.cfg; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub candidate_cfg: Vec<String>,
    /// Rounds per row and server [default: 5; quick: 1]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Seconds of a round that count [default: 5; of ensembles 10; quick: 2]
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
    /// Options of Apache's JVM for the rows `znodes`, `start`, `fill` and `watchers`, to whose data its usual heap would be a
    /// tight fit
    #[arg(long, default_value = "-Xmx3000m", allow_hyphen_values = true, value_name = "OPTIONS")]
    pub jvm_znodes: String,
    /// Znodes of the rows `znodes` and `fill`, and of the snapshot beside which `tails` looks
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub znodes: u64,
    /// Znodes of the row `start`, several numbers if you like [quick: the first of them]
    #[arg(long, default_value = "1000000,10000000", value_delimiter = ',', value_name = "N")]
    pub start_znodes: Vec<u64>,
    /// Apache starts with no more than so many: ten million want --jvm-znodes=-Xmx10g, and half an hour
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub apache_start_max: u64,
    /// Idle sessions of the row `sessions`
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub sessions: u64,
    /// Watchers of the row `watchers`, several numbers if you like [quick: the first of them]
    #[arg(long, default_value = "1000,10000,100000", value_delimiter = ',', value_name = "N")]
    pub watchers: Vec<usize>,
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
    /// In the latency profile: servers that can look for work for a while before they sleep do so.
    pub spin: bool,
}

impl Load {
    pub fn title(&self) -> String {
        let name = match self.workload {
            "read" => "reads",
            "write" => "writes",
            _ => "10:1",
        };
        let place = if self.at_follower { " at a follower" } else { "" };
        let profile = if self.spin { ", spinning" } else { "" };
        format!("{name} {} x {}{place}{profile}", self.connections, self.outstanding)
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
    Start,
    Sessions,
    Watchers,
    Tails,
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
            ("start", false) => return Ok(Row::Start),
            ("tails", false) => return Ok(Row::Tails),
            ("sessions", false) => return Ok(Row::Sessions),
            ("watchers", false) => return Ok(Row::Watchers),
            ("idle", true) => return Ok(Row::Idle),
            ("fill", true) => return Ok(Row::Fill),
            _ => {}
        }
        let parsed = || {
            let (name, size) = text.split_once('-')?;
            let (size, suffix) = size.split_once('-').unwrap_or((size, ""));
            let (at_follower, spin) = match (suffix, ensemble) {
                ("", _) => (false, false),
                ("follower", true) => (true, false),
                ("spin", false) => (false, true),
                _ => return None,
            };
            let workload = match name {
                "reads" => "read",
                "writes" => "write",
                "mixed" => "mixed",
                _ => return None,
            };
            let (connections, outstanding) = size.split_once('x')?;
            let (connections, outstanding) = (connections.parse().ok()?, outstanding.parse().ok()?);
            Some(Row::Load(Load { workload, connections, outstanding, at_follower, spin }))
        };
        let others = if ensemble {
            "writes-1x1-follower, idle, fill"
        } else {
            "reads-1x1-spin, znodes, start, sessions, watchers, tails"
        };
        parsed().ok_or(format!("no such row: `{text}` (like reads-128x16, mixed-128x1, writes-1x1, {others})"))
    }
}

const ALL: [&str; 16] = [
    "reads-1x1",
    "reads-1x1-spin",
    "reads-16x1",
    "reads-128x1",
    "reads-128x16",
    "mixed-128x1",
    "mixed-128x16",
    "writes-1x1",
    "writes-16x1",
    "writes-128x1",
    "writes-128x16",
    "znodes",
    "start",
    "sessions",
    "watchers",
    "tails",
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

    /// Everything that is asked for, in the order of its turns.
    pub fn kinds(&self) -> Vec<Kind> {
        let asked_for = |kind: &Kind| self.only.is_empty() || self.only.contains(kind);
        let exists = |kind: &Kind| !(self.ensemble && kind.is_floor());
        Kind::value_variants().iter().copied().filter(|kind| asked_for(kind) && exists(kind)).collect()
    }

    /// Those of them that have something to remember.
    pub fn servers(&self) -> Vec<Kind> {
        self.kinds().into_iter().filter(|kind| !kind.is_floor()).collect()
    }

    pub fn watchers(&self) -> &[usize] {
        if self.quick { &self.watchers[..1] } else { &self.watchers }
    }

    pub fn start_znodes(&self) -> &[u64] {
        if self.quick { &self.start_znodes[..1] } else { &self.start_znodes }
    }

    /// Those that start with so many znodes.
    pub fn starters(&self, znodes: u64) -> Vec<Kind> {
        let can = |kind: &Kind| *kind != Kind::Apache || znodes <= self.apache_start_max;
        self.servers().into_iter().filter(can).collect()
    }

    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    pub fn duration(&self) -> Duration {
        let usual = if self.ensemble { 10 } else { 5 };
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 2 } else { usual }))
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
        if self.kinds().is_empty() {
            return Err("--only leaves nothing to measure: there is no floor of ensembles".into());
        }
        Ok(())
    }
}
