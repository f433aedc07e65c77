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

    /// Where Apache's logs lie, if not there (dataLogDir).
    #[arg(long, value_name = "DIR")]
    pub apache_log_dir: Option<PathBuf>,

    /// Where the converted data goes; must not hold data yet.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where the server will keep its journal, if not there (dataLogDir).
    #[arg(long, value_name = "DIR")]
    pub data_log_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The data directory to convert; its server must be stopped.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where its journal lies, if not there (dataLogDir).
    #[arg(long, value_name = "DIR")]
    pub data_log_dir: Option<PathBuf>,

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

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper::config::{Config, Nowhere, assemble};

    fn serve(arguments: &str) -> Result<Config, ConfigError> {
        let words = ["ringkeeper", "serve"].into_iter().chain(arguments.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Serve(args) => assemble(&args.request()?, &Nowhere),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_positional_form_of_apache_is_understood() {
        let short = serve("2182 /d").unwrap();
        assert_eq!(short.client.client_addr.unwrap().to_string(), "0.0.0.0:2182");
        assert_eq!((short.client.max_client_cnxns, short.client.tick_time_ms), (0, 3000));
        let long = serve("2182 /d 500 7").unwrap();
        assert_eq!((long.client.max_client_cnxns, long.client.tick_time_ms), (7, 500));
        assert_eq!(long.journal.data_dir.to_str(), Some("/d"));
        let wrong = serve("port /d").unwrap_err().to_string();
        assert!(wrong.starts_with("command line PORT: clientPort: \"port\" is not a port"), "{wrong}");
    }

    #[test]
    fn flags_override_and_are_named_in_errors() {
        let config = serve("--client-port 0 --shards 3 --shard-cpus 1-2 --replication-cpu 0 --data-dir /d").unwrap();
        assert_eq!(config.client.client_addr.unwrap().to_string(), "127.0.0.1:0");
        assert_eq!((config.cores.shards, config.cores.replication_cpu), (Some(3), Some(0)));
        let wrong = serve("--shard-cpus 2-1").unwrap_err().to_string();
        assert!(wrong.starts_with("command line --shard-cpus: ringkeeper.shardCpus=2-1"), "{wrong}");
        assert!(serve("zoo.cfg").unwrap_err().to_string().starts_with("zoo.cfg: cannot be read"));
    }
}
