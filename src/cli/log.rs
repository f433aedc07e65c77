//! Where log lines go: standard error, as text or JSON, filtered by `--log-level`, else RUST_LOG, else `info`.

use std::io::IsTerminal;
use std::process::ExitCode;

use ringkeeper::config::{ConfigNotice, NoticeLevel};
use tracing_subscriber::EnvFilter;

use super::args::{LogArgs, LogFormat};

/// Starts logging. Errors: exit code 2, said on standard error, for a filter that cannot be read.
pub fn start(args: &LogArgs) -> Result<(), ExitCode> {
    let filter = match &args.log_level {
        Some(level) => EnvFilter::try_new(level).map_err(|reason| (format!("--log-level {level}"), reason.to_string())),
        None if std::env::var_os("RUST_LOG").is_some() => {
            EnvFilter::try_from_default_env().map_err(|reason| ("RUST_LOG".to_owned(), reason.to_string()))
        }
        None => Ok(EnvFilter::new("info")),
    };
    let filter = filter.map_err(|(what, reason)| {
        eprintln!("ringkeeper: {what}: {reason}; write error, warn, info, debug or trace");
        ExitCode::from(2)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Logs what the configuration made worth a line.
pub fn notices(notices: &[ConfigNotice]) {
    for notice in notices {
        match notice.level {
            NoticeLevel::Info => tracing::info!("{notice}"),
            NoticeLevel::Warning => tracing::warn!("{notice}"),
        }
    }
}
