//! `ringkeeper bench`: a load generator for any server that speaks ZooKeeper's client protocol.
//!
//! It is made to be cheap, because generator and server are usually compared on one machine: templates
//! instead of encoding, one epoll loop per thread, many requests per write and many replies per read, and
//! only the headers of replies looked at. It judges as it goes: an error code, a reply out of order, a lost
//! connection or a request without an answer makes the run fail.
//!
//!     args      the command line
//!     wire      the generator's own jute, not shared with the server
//!     plan      workloads as templates
//!     mix       weighted mixes: ClickHouse's, and keeper-bench's files
//!     session   blocking housekeeping: prepare, clean up, open many sessions
//!     conn      one loaded connection
//!     load      the loop, closed and open
//!     tally     histograms and counts
//!     beside    what disturbs the load
//!     measure   one-shot measurements: idle sessions, watchers, a million znodes, first read
//!     watches   one-shot measurements of watches: many watchers, many watches
//!     answers   the constant answers of a server without any state
//!     mirror    such a server: how fast is the generator itself?
//!     report    text and JSON
//!     system    CPU time and memory of a process, affinity, file limits

pub mod answers;
mod args;
mod beside;
mod conn;
mod load;
mod measure;
mod mirror;
mod mix;
mod plan;
mod report;
mod session;
mod system;
mod tally;
mod watches;
pub mod wire;

pub use args::{BenchArgs, Beside, Measure, Workload};

use mix::Mix;
use mix::spec::Spec;
use plan::{Plan, Templates};

/// Runs what the arguments ask for and prints its result.
/// An error is a message for the user; any wrong answer of the server is one.
pub fn run(mut args: BenchArgs) -> Result<(), String> {
    let mix = args.mix()?;
    if let Some(spec) = &mix {
        args.accept(&spec.terms);
    }
    args.check()?;
    // Connections, those of a disturbance, housekeeping, epoll, standard streams.
    let beside = if args.beside.is_some() { beside::CONNECTIONS_MAX } else { 0 };
    system::raise_file_limit((args.connections() + beside) as u64 + 64)?;
    if let Some(cpu) = args.cpus()?.first()
        && !matches!(args.measure, None | Some(Measure::Generator))
    {
        // The one-shot measurements run on this thread; load has threads of its own.
        system::pin_to(*cpu)?;
    }
    match args.measure {
        None => load_and_report(&args, mix.as_ref()),
        Some(Measure::IdleSessions) => measure::idle_sessions(&args),
        Some(Measure::Watchers) => watches::watchers(&args),
        Some(Measure::Watches) => watches::watches(&args),
        Some(Measure::LoadZnodes) => measure::load_znodes(&args),
        Some(Measure::FirstRead) => measure::first_read(&args),
        Some(Measure::Generator) => {
            let mirror = mirror::Mirror::start(Some(args.mirror_cpu), args.value_bytes, mirror::Fault::None)?;
            load_and_report(&BenchArgs { server: Some(mirror.address().to_string()), ..args }, mix.as_ref())
        }
    }
}

fn load_and_report(args: &BenchArgs, mix: Option<&Spec>) -> Result<(), String> {
    let root = args.root();
    let plan = match mix {
        Some(spec) => Plan::Mix(Mix::new(spec, &root, args.connections())?),
        None => Plan::Templates(Templates::new(args, &root)),
    };
    let prepared = measure::prepare(args, &root, &plan);
    let outcome = prepared.and_then(|()| load::run(args, &root, plan));
    let cleaned = measure::clean_up(args, &root);
    let outcome = outcome?;
    report::print_load(args, &outcome);
    match outcome.tally.error_count() {
        0 => cleaned,
        count => Err(format!("{count} requests were answered with an error")),
    }
}

#[cfg(test)]
mod tests;
