//! Results for people and for programs.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load::Outcome;
use super::{BenchArgs, wire};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Latencies in microseconds.
fn latency_json(latency: &Histogram<u64>, count: u64, seconds: f64) -> Value {
    let mut value = json!({ "count": count, "per_s": count as f64 / seconds });
    if !latency.is_empty() {
        for (name, quantile) in QUANTILES {
            value[format!("{name}_us")] = (latency.value_at_quantile(quantile) as f64 / 1e3).into();
        }
        value["max_us"] = (latency.max() as f64 / 1e3).into();
        value["mean_us"] = (latency.mean() / 1e3).into();
    }
    value
}

fn load_json(args: &BenchArgs, outcome: &Outcome) -> Value {
    let tally = &outcome.tally;
    let count: u64 = tally.count.iter().sum();
    let per_s = count as f64 / outcome.seconds;
    let mut all = tally.latency[0].clone();
    all.add(&tally.latency[1]).expect("the same bounds");
    let errors: serde_json::Map<String, Value> =
        tally.errors.iter().map(|(code, n)| (format!("{} ({code})", wire::error_name(*code)), (*n).into())).collect();
    // A mix has znodes and values of its own.
    let plain = !args.is_mix();
    let mut value = json!({
        "server": args.server(),
        "workload": args.workload_name(),
        "connections": args.connections(),
        "outstanding": args.outstanding(),
        "threads": args.threads,
        "keys": plain.then_some(args.keys),
        "value_bytes": plain.then_some(args.value_bytes),
        "rate": args.rate,
        "seconds": outcome.seconds,
        "ops": count,
        "ops_per_s": per_s,
        "all": latency_json(&all, count, outcome.seconds),
        "reads": latency_json(&tally.latency[0], tally.count[0], outcome.seconds),
        "writes": latency_json(&tally.latency[1], tally.count[1], outcome.seconds),
        "errors": errors,
        "error_count": tally.error_count(),
        "unsent": tally.unsent,
        "generator_cpu": outcome.own_cpu,
    });
    if let Some(beside) = &outcome.beside {
        value["beside"] = json!({
            "what": beside.what,
            "times": beside.times,
            "slowest_ms": beside.slowest.as_secs_f64() * 1e3,
            "cpu": beside.cpu,
        });
    }
    if let Some((cpu, resident)) = outcome.server {
        value["server_cpu"] = cpu.into();
        value["server_cpu_s_per_million"] = (cpu / per_s * 1e6).into();
        value["server_rss"] = resident.into();
    }
    value
}

pub fn print_load(args: &BenchArgs, outcome: &Outcome) {
    let value = load_json(args, outcome);
    if args.json {
        println!("{value}");
        return;
    }
    let number = |name: &str| value[name].as_f64().unwrap_or_default();
    println!(
        "{} on {}: {} connections x {} outstanding, {:.1} s",
        value["workload"].as_str().unwrap_or_default(),
        args.server(),
        args.connections(),
        args.outstanding(),
        outcome.seconds
    );
    println!("  {:>12.0} operations/s", number("ops_per_s"));
    for name in ["reads", "writes", "all"] {
        let part = &value[name];
        let one_sided = outcome.tally.count.contains(&0);
        if part["count"].as_u64() == Some(0) || (name == "all" && one_sided) {
            continue;
        }
        print!("  {name:<7}{:>10.0}/s ", part["per_s"].as_f64().unwrap_or_default());
        for quantile in ["p50", "p90", "p99", "p99.9", "max"] {
            let micros = part[format!("{quantile}_us")].as_f64().unwrap_or_default();
            print!("  {quantile} {}", human_micros(micros));
        }
        println!();
    }
    if outcome.server.is_some() {
        println!(
            "  server  {:.2} CPU-s per million operations, {:.0} % of a CPU, {:.1} MB resident",
            number("server_cpu_s_per_million"),
            number("server_cpu") * 100.0,
            number("server_rss") / 1e6
        );
    }
    println!("  generator {:.0} % of a CPU", outcome.own_cpu * 100.0);
    if outcome.own_cpu > 0.95 * args.threads as f64 {
        println!("  the generator was busy all the time: the server may be faster than this");
    }
    if let Some(beside) = &outcome.beside {
        println!(
            "  beside  {}, {} times, the slowest {}, {:.0} % of a CPU",
            beside.what,
            beside.times,
            human_micros(beside.slowest.as_secs_f64() * 1e6),
            beside.cpu * 100.0
        );
    }
    if outcome.tally.unsent > 0 {
        println!("  the server did not keep up: {} requests were due and could not be sent", outcome.tally.unsent);
    }
    for (name, count) in value["errors"].as_object().into_iter().flatten() {
        println!("  error   {name}: {count}");
    }
}

/// Prints the result of a one-shot measurement.
pub fn print_measure(args: &BenchArgs, value: Value) {
    if args.json {
        println!("{value}");
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(number) if number.fract() != 0.0 => println!("  {name:<18} {number:.1}"),
            Some(number) => println!("  {name:<18} {number:.0}"),
            None => println!("  {name:<18} {}", value.as_str().unwrap_or_default()),
        }
    }
}

/// Microseconds with a unit that keeps three digits before the eye.
fn human_micros(micros: f64) -> String {
    match micros {
        m if m < 1e3 => format!("{m:.0} us"),
        m if m < 1e6 => format!("{:.2} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}
