//! The binary: reads the command line and the configuration, then hands over to the library.
//!
//! Exit codes are Apache's (parity PX-01): 0 normal, 1 unexpected, 2 bad invocation or configuration.

use std::process::ExitCode;

use clap::Parser;
use ringkeeper::config::{Config, ConfigError, placement};
use ringkeeper::{convert, runtime};

mod cli;

use cli::args::ServeArgs;
use cli::{Cli, Command, check, log};

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    if let Err(code) = log::start(&log) {
        return code;
    }
    match command {
        Command::Serve(args) => serve(&args),
        Command::CheckConfig(args) => check_config(&args),
        Command::Bench(args) => match ringkeeper::bench::run(*args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => fail(&what),
        },
        Command::Import(args) => convert(|say| {
            convert::import(
                &args.apache_dir,
                args.apache_log_dir.as_deref(),
                &args.data_dir,
                args.data_log_dir.as_deref(),
                &convert::ImportOptions::default(),
                say,
            )
        }),
        Command::Export(args) => {
            convert(|say| convert::export(&args.data_dir, args.data_log_dir.as_deref(), &args.apache_dir, say))
        }
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match args.request().and_then(|request| Config::load(&request)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if config.config_file.is_none() {
        let (address, data) = (config.client.client_addr, config.journal.data_dir.display());
        tracing::info!(
            "no config file: standalone on {}, data in {data}",
            address.map_or("no port".to_owned(), |at| at.to_string())
        );
    }
    log::notices(&config.warnings);
    let mask = match check::affinity_mask() {
        Ok(mask) => mask,
        Err(error) => return fail(&format!("the CPUs of this process are unknown: {error}; allow sched_getaffinity")),
    };
    let placed = match placement(&mask, &config.cores) {
        Ok(placed) => placed,
        Err(error) => return refuse(&error),
    };
    check::placed_lines(&placed).into_iter().for_each(|line| tracing::info!("{line}"));
    match runtime::standalone(&config, &placed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringkeeper: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn check_config(args: &ServeArgs) -> ExitCode {
    let config = match args.request().and_then(|request| Config::inspect(&request)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let mask = match check::affinity_mask() {
        Ok(mask) => mask,
        Err(error) => return fail(&format!("the CPUs of this process are unknown: {error}; allow sched_getaffinity")),
    };
    let (text, starts) = check::report(&config, &mask);
    print!("{text}");
    if starts { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("ringkeeper: {error}");
    ExitCode::from(error.exit_code())
}

fn fail(text: &str) -> ExitCode {
    eprintln!("ringkeeper: {text}");
    ExitCode::from(1)
}

/// Runs a conversion, with its progress on standard error and what it did on standard output.
fn convert(job: impl FnOnce(&mut dyn FnMut(&str)) -> Result<convert::Report, convert::ConvertError>) -> ExitCode {
    match job(&mut |line| eprintln!("{line}")) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringkeeper: {error}");
            ExitCode::from(3)
        }
    }
}
