//! Apache ZooKeeper, the floor and ringkeeper, alternately, on the same two processors, with the same load.
//!
//!     cargo bench --bench versus                      one server against one; the better part of an hour
//!     cargo bench --bench versus -- --quick           short rounds, to see that it works
//!     cargo bench --bench versus -- --rows reads-128x16,writes-1x1
//!     cargo bench --bench versus -- --only apache,ringkeeper
//!     cargo bench --bench versus -- --ensemble        three servers against three; half an hour
//!     cargo bench --bench versus -- --whole           both, one after the other
//!
//! The server under test is alone on its processor (`--server-cpu`), the generator (`ringkeeper bench`)
//! alone on another; the three servers of an ensemble share theirs. Rounds alternate, A F R A F R, the other
//! servers are stopped (SIGSTOP) meanwhile, the other ensemble idle, and the medians are printed. A round in
//! which something else used the machine is marked and repeated.
//!
//! The floor (`benches/floor`) is no server: it answers constants and makes writes durable, and so tells how much of a
//! figure is the kernel's and the disk's. Of its two engines the better one counts, figure by figure.
//!
//! Standard output is the table in markdown; all else goes to standard error.
//!
//!     options     the command line
//!     server      starting, stopping and pausing one server
//!     party       a server alone, or three as an ensemble
//!     generator   running `ringkeeper bench` and noticing disturbances
//!     load        the load rows
//!     single      memory, restarts, sessions, watchers
//!     tails       the slowest requests while something else goes on
//!     machine     what this was measured on
//!     table       the tables

#[path = "../floor/mod.rs"]
mod floor;
mod generator;
mod load;
mod machine;
mod options;
mod party;
mod server;
mod single;
mod table;
mod tails;

use clap::Parser;

use options::Row;

fn main() -> std::process::ExitCode {
    let options = options::Options::parse();
    let outcome = match options.whole {
        true => run(&options).and_then(|()| run(&options::Options { ensemble: true, ..options })),
        false => run(&options),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("versus: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> Result<(), String> {
    if let Some(options::Role::Floor(args)) = &options.role {
        return floor::run(args);
    }
    options.check()?;
    let rows = options.rows()?;
    let (kinds, servers) = (options.kinds(), options.servers());
    machine::require(&kinds)?;
    std::fs::create_dir_all(&options.dir).map_err(|e| format!("{}: {e}", options.dir.display()))?;
    machine::refuse_memory_file_system(&options.dir)?;
    println!("{}", machine::describe(options, &kinds)?);

    let loads: Vec<_> = rows.iter().filter_map(Row::load).collect();
    let mut singles = Vec::new();
    if !loads.is_empty() {
        let (results, memory) = load::measure(options, &kinds, &loads)?;
        println!("{}", table::load(&results, &kinds));
        singles.extend(memory);
    }
    if servers.is_empty() {
        return Ok(());
    }
    for row in &rows {
        match row {
            Row::Load(_) | Row::Tails => {}
            Row::Znodes => singles.extend(single::measure_znodes(options, &servers)?),
            Row::Start => {
                for &znodes in options.start_znodes() {
                    singles.extend(single::measure_start(options, &options.starters(znodes), znodes)?);
                }
            }
            Row::Sessions => singles.push(single::measure_sessions(options, &servers)?),
            Row::Watchers => {
                for count in options.watchers() {
                    singles.push(single::measure_watchers(options, &servers, *count)?);
                }
            }
            Row::Idle => singles.push(single::measure_idle(options, &servers)?),
            Row::Fill => singles.push(single::measure_fill(options, &servers)?),
        }
    }
    if !singles.is_empty() {
        println!("{}", table::single(&singles));
    }
    if rows.iter().any(|row| matches!(row, Row::Tails)) {
        println!("{}", table::tails(&tails::measure(options, &servers)?));
    }
    Ok(())
}
