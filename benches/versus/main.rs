//! Apache ZooKeeper and ringkeeper, alternately, on the same two processors, with the same load.
//!
//!     cargo bench --bench versus                      everything; the better part of an hour
//!     cargo bench --bench versus -- --quick           short rounds, to see that it works
//!     cargo bench --bench versus -- --rows reads-128x16,writes-1x1
//!     cargo bench --bench versus -- --ensemble        three servers against three; half an hour
//!
//! The server under test is alone on its processor (`--server-cpu`), the generator (`ringkeeper bench`)
//! alone on another; the three servers of an ensemble share theirs. Rounds alternate, A B A B, the other
//! server is stopped (SIGSTOP) meanwhile, the other ensemble idle, and the medians are printed. A round in
//! which something else used the machine is marked and repeated.
//! Standard output is the table in markdown; all else goes to standard error.
//!
//!     options     the command line
//!     server      starting, stopping and pausing one server
//!     party       a server alone, or three as an ensemble
//!     generator   running `ringkeeper bench` and noticing disturbances
//!     rows        the measurements
//!     machine     what this was measured on
//!     table       the tables

mod generator;
mod machine;
mod options;
mod party;
mod rows;
mod server;
mod table;

use clap::Parser;

fn main() -> std::process::ExitCode {
    match run(&options::Options::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("versus: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> Result<(), String> {
    options.check()?;
    let rows = options.rows()?;
    let kinds = options.kinds();
    machine::require(&kinds)?;
    std::fs::create_dir_all(&options.dir).map_err(|e| format!("{}: {e}", options.dir.display()))?;
    machine::refuse_memory_file_system(&options.dir)?;
    println!("{}", machine::describe(options, &kinds)?);

    let load: Vec<_> = rows.iter().filter_map(options::Row::load).collect();
    let mut single = Vec::new();
    if !load.is_empty() {
        let (results, memory) = rows::measure_load(options, &kinds, &load)?;
        println!("{}", table::load(&results));
        single.extend(memory);
    }
    for row in &rows {
        match row {
            options::Row::Load(_) => {}
            options::Row::Znodes => single.extend(rows::measure_znodes(options, &kinds)?),
            options::Row::Sessions => single.push(rows::measure_sessions(options, &kinds)?),
            options::Row::Watchers => single.push(rows::measure_watchers(options, &kinds)?),
            options::Row::Idle => single.push(rows::measure_idle(options, &kinds)?),
            options::Row::Fill => single.push(rows::measure_fill(options, &kinds)?),
        }
    }
    if !single.is_empty() {
        println!("{}", table::single(&single));
    }
    Ok(())
}
