//! Running `ringkeeper bench` as a child, and noticing what else the machine did meanwhile.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine;
use crate::options::{Load, Options};
use crate::party::Party;
use crate::server::Server;

/// The release binary that was built along with this benchmark.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_ringkeeper")
}

/// Runs `ringkeeper bench` with `arguments` against the servers at `addresses` and returns its report.
fn bench(party: &Party, addresses: &str, arguments: &[String]) -> Result<Value, String> {
    let pids: Vec<String> = party.pids().iter().map(u32::to_string).collect();
    let output = Command::new(binary())
        .args(["bench", "--json", "--quiet", "--server", addresses])
        .args(["--server-pid", &pids.join(",")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", binary()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {} ({})", party.kind, message.trim(), arguments.join(" ")));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("the generator's report: {e}"))
}

/// Waits until a server that was just started serves, or fails when its process ends.
pub fn first_read(server: &mut Server) -> Result<(), String> {
    let mut child = Command::new(binary())
        .args(["bench", "--json", "--quiet", "--measure", "first-read", "--server", &server.address()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", binary()))?;
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => return Err(format!("{} never served", server.kind)),
            None if server.has_ended() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{} ended instead of serving", server.kind));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Load that is not measured.
pub fn warm_up(options: &Options, party: &Party) -> Result<(), String> {
    let addresses = party.addresses(false)?;
    let half = options.warm_up() / 2;
    for (connections, outstanding) in ["128", "16"].into_iter().zip(["16", "1"]) {
        let arguments = ["--workload", "mixed", "--read-ratio", "2", "--warmup", "0", "--duration", &seconds(half)];
        let size = ["--connections", connections, "--outstanding", outstanding];
        bench(party, &addresses, &pinned(options, arguments.into_iter().chain(size)))?;
    }
    Ok(())
}

fn pinned<'a>(options: &Options, arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let cpu = [String::from("--cpu"), options.bench_cpu.to_string()];
    arguments.into_iter().map(String::from).chain(cpu).collect()
}

/// One round and what is to be said about it.
pub struct Round {
    pub report: Value,
    /// Share of a processor that others used, or that the hypervisor took.
    pub noise: f64,
}

/// Runs `measure` and finds out how much of the machine was used by neither the servers nor the generator.
fn watched(party: &Party, measure: impl FnOnce(&Party) -> Result<Value, String>) -> Result<Round, String> {
    let before = machine::Usage::take(&party.pids())?;
    let start = Instant::now();
    let report = measure(party)?;
    let noise = machine::Usage::take(&party.pids())?.unexplained_since(&before) / start.elapsed().as_secs_f64();
    Ok(Round { report, noise })
}

/// Repeats a round while it is disturbed, as often as allowed; takes the quietest. An ensemble that gave up a connection, as it does
/// when it changes its leader, is told of and measured again.
pub fn undisturbed(
    options: &Options,
    party: &mut Party,
    what: &str,
    measure: impl Fn(&Party) -> Result<Value, String>,
) -> Result<Round, String> {
    let mut best: Option<Round> = None;
    let mut failure = None;
    for _ in 0..=options.repeats {
        let round = match watched(party, &measure) {
            Err(error) if options.ensemble => {
                eprintln!("versus: {what}: FAILED, once more: {error}");
                party.wait_until_it_serves()?;
                failure = Some(error);
                continue;
            }
            other => other?,
        };
        let quiet = round.noise <= options.noise;
        if !quiet {
            eprintln!("versus: {what}: others used {:.0} % of a processor", round.noise * 100.0);
        }
        if best.as_ref().is_none_or(|best| round.noise < best.noise) {
            best = Some(round);
        }
        if quiet {
            break;
        }
    }
    best.ok_or_else(|| failure.unwrap_or("no round was run".into()))
}

/// A load, closed unless `more` says otherwise.
pub fn load(options: &Options, party: &Party, load: &Load, more: &[&str]) -> Result<Value, String> {
    let warm = seconds(if options.quick { Duration::from_millis(500) } else { Duration::from_secs(2) });
    let (connections, outstanding) = (load.connections.to_string(), load.outstanding.to_string());
    let arguments = ["--workload", load.workload, "--connections", &connections, "--outstanding", &outstanding];
    let duration = seconds(options.duration());
    let times = ["--warmup", &warm, "--duration", &duration];
    let more = more.iter().copied();
    bench(party, &party.addresses(load.at_follower)?, &pinned(options, arguments.into_iter().chain(times).chain(more)))
}

/// The one-shot measurements of `ringkeeper bench`.
pub fn one_shot(options: &Options, party: &Party, measure: &str, more: &[&str]) -> Result<Value, String> {
    one_shot_at(options, party, &party.addresses(false)?, measure, more)
}

/// The same through addresses that are given.
pub fn one_shot_at(
    options: &Options,
    party: &Party,
    addresses: &str,
    measure: &str,
    more: &[&str],
) -> Result<Value, String> {
    bench(party, addresses, &pinned(options, ["--measure", measure].into_iter().chain(more.iter().copied())))
}
