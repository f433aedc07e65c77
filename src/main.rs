//! The command line: one binary, one subcommand per job.

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "ringkeeper", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put load on any ZooKeeper-compatible server and measure it
    Bench(Box<ringkeeper::bench::BenchArgs>),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(args) => ringkeeper::bench::run(*args),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ringkeeper: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}
