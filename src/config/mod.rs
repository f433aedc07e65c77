//! What the operator wants: zoo.cfg, system properties and flags, read into one plain [`Config`].
//!
//! Pure but for `load.rs`, which reads the files.

pub mod cpuset;
mod jvm;
mod properties;
mod value;
pub mod error;
pub mod model;
pub mod placement;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use cpuset::CpuSet;
pub use error::{ConfigError, ConfigErrorKind, ConfigNotice, NoticeLevel, Place};
pub use model::{
    AuthConfig, ClientConfig, ConnectionThrottleConfig, CoresConfig, DigestAlgorithm, FourLetterWhitelist, JournalConfig,
    RequestThrottleConfig, SnapshotCompression, ZnodeConfig,
};
pub use placement::{Core, Placement, placement};

/// The whole configuration of a server. Plain data; made by `Config::load` or [`Config::default_for_dev`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from; `None` without one.
    pub config_file: Option<PathBuf>,
    /// That file's text, verbatim ("initial configuration" of Apache's admin commands); empty without one.
    pub config_text: String,
    /// `<dataDir>/myid`; a standalone server does not use it (CF-12).
    pub server_id: Option<i64>,
    pub client: ClientConfig,
    pub auth: AuthConfig,
    pub znode: ZnodeConfig,
    pub journal: JournalConfig,
    pub cores: CoresConfig,
    /// What is worth a line in the log, in the order of the places.
    pub warnings: Vec<ConfigNotice>,
}

impl Config {
    /// The server one gets without a config file: standalone on 127.0.0.1:2181, data in `./ringkeeper-data`.
    pub fn default_for_dev() -> Config {
        let data_dir = PathBuf::from("./ringkeeper-data");
        Config {
            config_file: None,
            config_text: String::new(),
            server_id: None,
            client: ClientConfig {
                client_addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 2181))),
                ..ClientConfig::default()
            },
            auth: AuthConfig::default(),
            znode: ZnodeConfig::default(),
            journal: JournalConfig { data_dir: data_dir.clone(), data_log_dir: data_dir, ..JournalConfig::default() },
            cores: CoresConfig::default(),
            warnings: Vec::new(),
        }
    }
}
