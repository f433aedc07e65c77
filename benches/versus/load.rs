//! The load rows: every party in turn, round after round, under the same load.

use std::time::Duration;

use crate::generator::{self, Round};
use crate::options::{Kind, Load, Options};
use crate::party::Party;
use crate::server::Manner;
use crate::single::Single;

/// How long an ensemble is idle before its memory is looked at.
pub const IDLE: Duration = Duration::from_secs(8);
/// How long servers look for work before they sleep, in the latency profile.
const SPIN_US: u32 = 50;

/// Medians of a load row for one party.
#[derive(Clone, Copy)]
pub struct Figures {
    pub kind: Kind,
    pub ops_per_s: f64,
    /// Of all servers together.
    pub cpu_s_per_million: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Share of a processor the generator used: near one, the server may be faster than this.
    pub generator: f64,
    /// At least half of the rounds stayed disturbed.
    pub disturbed: bool,
}

pub struct LoadResult {
    pub title: String,
    pub figures: Vec<Figures>,
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

pub fn number(report: &serde_json::Value, name: &str) -> Result<f64, String> {
    report[name].as_f64().ok_or(format!("the generator's report has no {name}"))
}

/// All parties run, warmed up, through all load rows; a single server is paused while it is not its turn.
/// What ensembles hold in memory when that is over comes along with the results.
pub fn measure(options: &Options, kinds: &[Kind], loads: &[Load]) -> Result<(Vec<LoadResult>, Option<Single>), String> {
    let mut results = Vec::new();
    // The latency profile is another configuration, so it has parties of its own.
    for spin in [false, true] {
        let loads: Vec<&Load> = loads.iter().filter(|load| load.spin == spin).collect();
        if loads.is_empty() {
            continue;
        }
        let manner = Manner { spin_us: if spin { SPIN_US } else { 0 }, ..Manner::plain("load", &options.jvm) };
        let mut parties = warm_parties(options, kinds, &manner)?;
        for load in loads {
            results.push(measure_row(options, &mut parties, load)?);
        }
        if options.ensemble {
            std::thread::sleep(IDLE);
            let bytes: Result<Vec<Vec<f64>>, String> =
                parties.iter().map(|party| Ok(vec![party.resident_bytes()? as f64 / 1e6])).collect();
            let title = "three servers after the load above, resident".into();
            return Ok((results, Some(Single::new(title, "MB", kinds, &mut bytes?))));
        }
    }
    Ok((results, None))
}

fn measure_row(options: &Options, parties: &mut [Party], load: &Load) -> Result<LoadResult, String> {
    let mut rounds: Vec<Vec<Round>> = parties.iter().map(|_| Vec::new()).collect();
    for number in 0..options.rounds() {
        for (party, rounds) in parties.iter_mut().zip(&mut rounds) {
            let what = format!("{} round {} {}", load.title(), number + 1, party.kind);
            let round = party.alone(|party| {
                generator::undisturbed(options, party, &what, |party| generator::load(options, party, load, &[]))
            })?;
            let rate = round.report["ops_per_s"].as_f64().unwrap_or_default();
            eprintln!("versus: {what}: {rate:.0} operations/s");
            rounds.push(round);
        }
    }
    let figures: Result<Vec<Figures>, String> =
        parties.iter().zip(&rounds).map(|(party, rounds)| figures(options, party.kind, load, rounds)).collect();
    Ok(LoadResult { title: load.title(), figures: figures? })
}

/// Medians over the quiet rounds; if there is none, over all, and marked.
fn figures(options: &Options, kind: Kind, load: &Load, rounds: &[Round]) -> Result<Figures, String> {
    let quiet: Vec<&Round> = rounds.iter().filter(|round| round.noise <= options.noise).collect();
    let used = if quiet.is_empty() { rounds.iter().collect() } else { quiet.clone() };
    let of = |read: &dyn Fn(&serde_json::Value) -> Result<f64, String>| {
        let values: Result<Vec<f64>, String> = used.iter().map(|round| read(&round.report)).collect();
        values.map(|mut values| median(&mut values))
    };
    let latency = |name: &'static str| of(&move |report| number(&report[load.latency_of()], name));
    Ok(Figures {
        kind,
        ops_per_s: of(&|report| number(report, "ops_per_s"))?,
        cpu_s_per_million: of(&|report| number(report, "server_cpu_s_per_million"))?,
        p50_us: latency("p50_us")?,
        p99_us: latency("p99_us")?,
        p999_us: latency("p99.9_us")?,
        generator: of(&|report| number(report, "generator_cpu"))?,
        disturbed: quiet.len() * 2 < rounds.len(),
    })
}

/// Parties that have had load for a while, each paused if it is alone.
pub fn warm_parties(options: &Options, kinds: &[Kind], manner: &Manner) -> Result<Vec<Party>, String> {
    let mut parties = Vec::new();
    for kind in kinds {
        let party = Party::start(options, *kind, manner)?;
        eprintln!("versus: warming up {kind}");
        generator::warm_up(options, &party)?;
        party.rest()?;
        parties.push(party);
    }
    Ok(parties)
}
