//! The only part of the configuration that touches the machine: reads files and variables, resolves names.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use super::assemble::{Outside, Request, assemble};
use super::{Config, ConfigError};

/// This machine.
pub struct Machine;

impl Outside for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn resolve(&self, host: &str) -> Option<IpAddr> {
        host.parse().ok().or_else(|| (host, 0).to_socket_addrs().ok()?.next().map(|found| found.ip()))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl Config {
    /// Reads what `request` asks for, and refuses what this server may not start with.
    ///
    /// Errors: the first problem of the texts, then the first of [`Config::refusals`].
    pub fn load(request: &Request) -> Result<Config, ConfigError> {
        let config = Config::inspect(request)?;
        config.startable()?;
        Ok(config)
    }

    /// Reads without refusing, for `check-config`: call [`Config::startable`] before serving from it.
    pub fn inspect(request: &Request) -> Result<Config, ConfigError> {
        assemble(request, &Machine)
    }
}
