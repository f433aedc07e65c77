//! The generator against the mirror: every workload runs, and whatever a server does wrong is noticed.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::args::parse_duration;
use super::mirror::{Fault, Mirror};
use super::*;

const ROOT: &str = "/bench-test";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

fn args(mirror: &Mirror, more: &[&str]) -> BenchArgs {
    let server = mirror.address().to_string();
    let common = ["bench", "--server", &server, "--quiet", "--warmup", "50ms", "--duration", "200ms"];
    let mut args = Cli::parse_from(common.into_iter().chain(more.iter().copied())).bench;
    args.connections = Some(4);
    args
}

fn outcome(fault: Fault, more: &[&str]) -> Result<load::Outcome, String> {
    let mirror = Mirror::start(None, 100, fault)?;
    let args = args(&mirror, more);
    args.check()?;
    load::run(&args, ROOT, Plan::Templates(Templates::new(&args, ROOT)))
}

#[test]
fn every_workload_runs_without_an_error() {
    for workload in Workload::value_variants() {
        let workload = &workload.to_possible_value().unwrap().get_name().to_string();
        let mirror = Mirror::start(None, 100, Fault::None).unwrap();
        run(args(&mirror, &["--workload", workload, "--keys", "10", "-k", "7", "--json"])).unwrap();
    }
}

#[test]
fn reads_and_writes_come_in_the_ratio_asked_for() {
    let tally = outcome(Fault::None, &["--workload", "mixed", "--read-ratio", "4", "-k", "16"]).unwrap().tally;
    let [reads, writes] = tally.count;
    assert!(writes > 500, "{writes}");
    let ratio = reads as f64 / writes as f64;
    assert!((3.0..5.0).contains(&ratio), "{ratio}");
    assert_eq!(tally.latency[0].len(), reads);
    assert_eq!(tally.latency[1].len(), writes);
}

#[test]
fn two_threads_share_the_connections() {
    let tally = outcome(Fault::None, &["--threads", "2", "--workload", "churn"]).unwrap().tally;
    assert!(tally.count[1] > 100);
    assert_eq!(tally.error_count(), 0);
}

#[test]
fn an_error_is_counted_and_fails_the_run() {
    let tally = outcome(Fault::Error(20), &["--workload", "read"]).unwrap().tally;
    assert_eq!(tally.errors.get(&-101), Some(&4), "one on each connection");
    let mirror = Mirror::start(None, 100, Fault::Error(40)).unwrap();
    // With ten keys, housekeeping stays below forty requests per connection: the fault hits the load alone.
    let message = run(args(&mirror, &["--workload", "read", "--keys", "10", "--json"])).unwrap_err();
    assert_eq!(message, "4 requests were answered with an error");
}

#[test]
fn a_failed_multi_is_an_error_though_its_header_is_good() {
    let tally = outcome(Fault::FailedMulti(5), &["--workload", "multi"]).unwrap().tally;
    assert_eq!(tally.errors.get(&-101), Some(&4));
}

#[test]
fn a_wrong_xid_ends_the_run() {
    let message = outcome(Fault::WrongXid(9), &["-k", "3"]).err().unwrap();
    assert!(message.contains("out of order"), "{message}");
}

#[test]
fn a_lost_connection_ends_the_run() {
    let message = outcome(Fault::Close(9), &[]).err().unwrap();
    assert!(message.contains("clos") || message.contains("lost"), "{message}");
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let tally = outcome(Fault::None, &["--workload", "read", "--rate", "2000"]).unwrap().tally;
    // 200 ms at 2000 per second are 400; a busy machine may shift some over the borders of the window.
    assert!((300..=500).contains(&tally.count[0]), "{}", tally.count[0]);
}

#[test]
fn an_open_loop_charges_a_stall_to_every_request_that_was_due() {
    let mirror = Mirror::start(None, 100, Fault::Stall(30, 400)).unwrap();
    let mut args = args(&mirror, &["--workload", "read", "--rate", "1000"]);
    args.connections = Some(1);
    args.duration = Some(Duration::from_millis(1500));
    let tally = load::run(&args, ROOT, Plan::Templates(Templates::new(&args, ROOT))).unwrap().tally;
    // One request was slow, but about 400 were due meanwhile and waited 200 ms on average.
    assert!(tally.latency[0].value_at_quantile(0.9) > 100_000_000, "{}", tally.latency[0].value_at_quantile(0.9));
    assert!(tally.latency[0].count_between(50_000_000, 500_000_000) > 250);
}

#[test]
fn every_disturbance_takes_its_turn_and_is_reported() {
    let mirror = Mirror::start(None, 100, Fault::None).unwrap();
    for beside in Beside::value_variants() {
        let mut args = args(&mirror, &["--workload", "mixed", "--rate", "1000"]);
        args.beside = Some(*beside);
        let plan = Plan::Templates(Templates::new(&args, ROOT));
        let done = load::run(&args, ROOT, plan).unwrap().beside.unwrap();
        assert!(done.times >= 1, "{}", done.what);
        assert!(done.slowest > Duration::ZERO);
    }
}

#[test]
fn durations() {
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
    assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
    assert!(parse_duration("fast").is_err());
    assert!(parse_duration("-1s").is_err());
}
