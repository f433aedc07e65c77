//! What the operator wants: zoo.cfg, system properties and flags, read into one plain [`Config`].
//!
//! ```text
//! properties.rs   bytes -> key, value, line        jvm.rs       -D definitions and java.env
//! keys.rs         the one table of keys            value.rs     numbers as Java reads them
//! draft.rs        a setting meets its row          judged.rs    rows with rules of their own
//! ensemble.rs     server.N, group, weight          assemble.rs  precedence, and what depends on several keys
//! model.rs, quorum.rs   the result                 placement.rs executors on CPUs
//! load.rs         the only one that reads files    error.rs     what is wrong, where, and what would be right
//! ```
//!
//! It does not know who uses a setting, nor whether the machine can do what is asked.

pub mod assemble;
pub mod cpuset;
mod draft;
pub mod ensemble;
pub mod error;
mod judged;
mod jvm;
pub mod keys;
mod load;
pub mod model;
pub mod placement;
mod properties;
pub mod quorum;
mod value;

use std::path::PathBuf;

pub use assemble::{Nowhere, Outside, Request, assemble};
pub use cpuset::CpuSet;
pub use draft::Setting;
pub use ensemble::{EnsembleConfig, Role};
pub use error::{ConfigError, ConfigErrorKind, ConfigNotice, NoticeLevel, Place};
pub use load::Machine;
pub use model::{
    AuthConfig, ClientConfig, ConnectionThrottleConfig, CoresConfig, JournalConfig, RequestThrottleConfig, ZnodeConfig,
};
pub use placement::{Core, Placement, placement};
pub use quorum::QuorumConfig;

/// The whole configuration of a server. Plain data; made by [`Config::load`] or [`Config::default_for_dev`].
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from; `None` without one.
    pub config_file: Option<PathBuf>,
    /// That file's text, verbatim, secrets included ("initial configuration" of Apache's admin commands); empty without one.
    pub config_text: String,
    /// `<dataDir>/myid`; a standalone server does not use it (CF-12).
    pub server_id: Option<i64>,
    pub client: ClientConfig,
    pub auth: AuthConfig,
    pub znode: ZnodeConfig,
    pub journal: JournalConfig,
    pub cores: CoresConfig,
    /// Knobs of replication; a standalone server does not use them.
    pub quorum: QuorumConfig,
    /// The members, if this is one of several. Refused by [`Config::startable`] for now.
    pub ensemble: Option<EnsembleConfig>,
    /// What is worth a line in the log.
    pub warnings: Vec<ConfigNotice>,
    /// Why a server must not start with this, although it was understood.
    pub refusals: Vec<ConfigError>,
    /// Every key that counts, its value (secrets hidden) and where it was set.
    pub effective: Vec<EffectiveSetting>,
}

/// One line of `check-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSetting {
    pub key: String,
    pub value: String,
    /// `None` = default.
    pub place: Option<Place>,
    pub doc: &'static str,
}

impl Config {
    /// The server one gets without a config file: standalone on 127.0.0.1:2181, data in `./ringkeeper-data`. Looks at no
    /// file and no variable, so it is the same everywhere; [`Request::without_file`] is its counterpart that does.
    pub fn default_for_dev() -> Config {
        assemble(&Request::without_file(), &Nowhere).expect("built-in settings are valid")
    }

    /// May a server start with this? Errors: the first of [`Config::refusals`].
    pub fn startable(&self) -> Result<(), ConfigError> {
        self.refusals.first().cloned().map_or(Ok(()), Err)
    }

    /// Every default and nothing else; without directories and ports it is not usable yet.
    pub(crate) fn blank() -> Config {
        Config {
            config_file: None,
            config_text: String::new(),
            server_id: None,
            client: ClientConfig::default(),
            auth: AuthConfig::default(),
            znode: ZnodeConfig::default(),
            journal: JournalConfig::default(),
            cores: CoresConfig::default(),
            quorum: QuorumConfig::default(),
            ensemble: None,
            warnings: Vec::new(),
            refusals: Vec::new(),
            effective: Vec::new(),
        }
    }
}

impl Request {
    /// A zoo.cfg and nothing else.
    pub fn file(path: impl Into<PathBuf>) -> Request {
        Request { config_file: Some(path.into()), ..Request::default() }
    }

    /// No zoo.cfg: a server of this machine alone.
    pub fn without_file() -> Request {
        let built_in = |key: &str, value: &str| Setting::new(key, value, Place::BuiltIn);
        let defaults = vec![
            built_in("clientPort", "2181"),
            built_in("clientPortAddress", "127.0.0.1"),
            built_in("dataDir", "./ringkeeper-data"),
        ];
        Request { defaults, ..Request::default() }
    }
}
