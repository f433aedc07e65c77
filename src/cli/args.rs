//! Subcommands and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringkeeper::config::{ConfigError, ConfigErrorKind, Place, Request, Setting};

/// A coordination service that replaces Apache ZooKeeper without its clients noticing.
#[derive(Debug, Parser)]
#[command(name = "ringkeeper", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Least level that is logged: error, warn, info, debug, trace, or a filter as in RUST_LOG (which this overrides).
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server. Without a config file: standalone on 127.0.0.1:2181, data in ./ringkeeper-data.
    Serve(ServeArgs),
    /// Read a config file, print what counts and what was noticed, and say whether a server would start.
    CheckConfig(ServeArgs),
    /// Convert the newest snapshot and the logs of an Apache data directory into one of ringkeeper's.
    Import(ImportArgs),
    /// Convert a data directory of ringkeeper into one that Apache ZooKeeper starts on.
    Export(ExportArgs),
    /// Put load on any ZooKeeper-compatible server and measure it.
    Bench(Box<ringkeeper::bench::BenchArgs>),
}

#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// A zoo.cfg; or, as Apache's standalone server takes them: PORT DATA_DIR [TICK_TIME] [MAX_CLIENT_CNXNS].
    #[arg(num_args = 0..=4, value_name = "ZOO_CFG | PORT DATA_DIR")]
    pub positional: Vec<String>,

    /// Port of the client listener (clientPort).
    #[arg(long, value_name = "PORT")]
    pub client_port: Option<String>,

    /// Directory of snapshots and, unless zoo.cfg has dataLogDir, of the log (dataDir).
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// Number of shards (ringkeeper.shards).
    #[arg(long, value_name = "COUNT")]
    pub shards: Option<String>,

    /// CPUs of the shards, for example 1-7 (ringkeeper.shardCpus).
    #[arg(long, value_name = "CPUS")]
    pub shard_cpus: Option<String>,

    /// CPU of the replication core, for example 0 (ringkeeper.replicationCpu).
    #[arg(long, value_name = "CPU")]
    pub replication_cpu: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Apache's data directory: the one that holds version-2.
    pub apache_dir: PathBuf,

    /// Where the converted data goes; must not hold data yet.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The data directory to convert.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where version-2 is created for Apache's server; must not hold data yet.
    pub apache_dir: PathBuf,
}

impl ServeArgs {
    /// What to load. Errors: numbers of arguments that are neither form (CF-06).
    pub fn request(&self) -> Result<Request, ConfigError> {
        let mut request = match self.positional.as_slice() {
            [] => Request::without_file(),
            [zoo_cfg] => Request::file(zoo_cfg),
            [port, data_dir, more @ ..] if more.len() <= 2 => legacy(port, data_dir, more),
            _ => {
                let place = Place::CommandLine("arguments".to_owned());
                let problem = format!("{} arguments are too many", self.positional.len());
                let remedy = "give one zoo.cfg, or PORT DATA_DIR [TICK_TIME] [MAX_CLIENT_CNXNS]";
                return Err(ConfigError::new(ConfigErrorKind::CommandLine, place, problem, remedy));
            }
        };
        let flags = [
            ("--client-port", "clientPort", &self.client_port),
            ("--data-dir", "dataDir", &self.data_dir),
            ("--shards", "ringkeeper.shards", &self.shards),
            ("--shard-cpus", "ringkeeper.shardCpus", &self.shard_cpus),
            ("--replication-cpu", "ringkeeper.replicationCpu", &self.replication_cpu),
        ];
        for (flag, key, value) in flags {
            let place = Place::CommandLine(flag.to_owned());
            request.overrides.extend(value.as_ref().map(|value| Setting::new(key, value.trim(), place)));
        }
        Ok(request)
    }
}

/// ZK: ServerConfig.parse(String[]): no limit of connections unless one is given.
fn legacy(port: &str, data_dir: &str, more: &[String]) -> Request {
    let given = |key: &str, value: &str, name: &str| Setting::new(key, value, Place::CommandLine(name.to_owned()));
    let mut defaults = vec![given("clientPort", port, "PORT"), given("dataDir", data_dir, "DATA_DIR")];
    defaults.extend(more.first().map(|tick| given("tickTime", tick, "TICK_TIME")));
    defaults.push(given("maxClientCnxns", more.get(1).map_or("0", String::as_str), "MAX_CLIENT_CNXNS"));
    Request { defaults, ..Request::default() }
}
