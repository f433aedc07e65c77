//! The tails: how long the slowest thousandth of requests takes while something else goes on in the same server.
//!
//! Each server is offered half of what it can do at 10:1, 128 x 1, in an open loop, so that a stall is charged to every
//! request that was due in it; first alone, then beside each disturbance in turn. What counts is the ratio to its own
//! quiet tail as much as the tail itself.

use crate::generator;
use crate::load::{median, number};
use crate::options::{Kind, Load, Options};
use crate::party::Party;
use crate::server::Manner;
use crate::single;

/// What `ringkeeper bench --beside` can do meanwhile, and how that reads in a table.
const DISTURBANCES: [(&str, &str); 4] = [
    ("connect-storm", "connections come and go"),
    ("big-writes", "large values are written"),
    ("big-list", "a large list is read"),
    ("silent-reader", "a client does not read its replies"),
];
/// Records between snapshots where one is wanted all the time.
const SNAP_COUNT: u32 = 10_000;

const LOAD: Load = Load { workload: "mixed", connections: 128, outstanding: 1, at_follower: false, spin: false };

/// One line of the table: p99.9 in microseconds by kind. Of a server that failed there is none.
pub struct Tail {
    pub beside: String,
    pub p999_us: Vec<(Kind, f64)>,
}

/// The quiet tail first, then the others.
pub fn measure(options: &Options, kinds: &[Kind]) -> Result<Vec<Tail>, String> {
    let titles = DISTURBANCES.iter().map(|(_, title)| title.to_string());
    let snapshots = format!("snapshots of {} znodes are written", options.znodes);
    let mut tails: Vec<Tail> = std::iter::once("nothing else".to_string())
        .chain(titles)
        .chain([snapshots])
        .map(|beside| Tail { beside, p999_us: Vec::new() })
        .collect();
    for kind in kinds {
        let of_kind = measure_kind(options, *kind)?;
        for (tail, value) in tails.iter_mut().zip(of_kind) {
            tail.p999_us.extend(value.map(|value| (*kind, value)));
        }
    }
    Ok(tails)
}

/// What became of one server: its quiet tail, those beside the disturbances, and that beside snapshots.
fn measure_kind(options: &Options, kind: Kind) -> Result<Vec<Option<f64>>, String> {
    let mut party = Party::start(options, kind, &Manner::plain("tails", &options.jvm))?;
    generator::warm_up(options, &party)?;
    let half = half_of_capacity(options, &mut party)?;
    let mut all = vec![Some(tail(options, &mut party, half, None)?)];
    for (beside, _) in DISTURBANCES {
        // That a server does not bear one is a result too.
        let tail = tail(options, &mut party, half, Some(beside));
        all.push(tail.inspect_err(|why| eprintln!("versus: {kind} beside {beside}: FAILED: {why}")).ok());
    }
    drop(party);
    let manner = Manner { snap_count: Some(SNAP_COUNT), ..Manner::plain("tails", &options.jvm_znodes) };
    let mut party = Party::start(options, kind, &manner)?;
    single::load_znodes(options, &party, options.znodes)?;
    generator::warm_up(options, &party)?;
    all.push(Some(tail(options, &mut party, half, None)?));
    Ok(all)
}

/// Half of the rate at which the server is never idle.
fn half_of_capacity(options: &Options, party: &mut Party) -> Result<f64, String> {
    let what = format!("capacity of {}", party.kind);
    let round = generator::undisturbed(options, party, &what, |party| generator::load(options, party, &LOAD, &[]))?;
    let half = number(&round.report, "ops_per_s")? / 2.0;
    eprintln!("versus: tails of {}: half of what it can do are {half:.0} operations/s", party.kind);
    Ok(half)
}

/// The median of the p99.9 of all rounds.
fn tail(options: &Options, party: &mut Party, rate: f64, beside: Option<&str>) -> Result<f64, String> {
    let rate = format!("{rate:.0}");
    let mut more = vec!["--rate", rate.as_str()];
    more.extend(beside.iter().flat_map(|beside| ["--beside", beside]));
    let what = format!("tail of {} beside {}", party.kind, beside.unwrap_or("nothing"));
    let mut values = Vec::new();
    for _ in 0..options.single_rounds() {
        let round =
            generator::undisturbed(options, party, &what, |party| generator::load(options, party, &LOAD, &more))?;
        values.push(number(&round.report["all"], "p99.9_us")?);
    }
    let middle = median(&mut values);
    eprintln!("versus: {what}: {middle:.0} us");
    Ok(middle)
}
