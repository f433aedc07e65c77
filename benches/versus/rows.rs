//! The measurements, each taken from both servers in turn.

use std::fs;
use std::time::Duration;

use crate::generator::{self, Round};
use crate::options::{Kind, Load, Options};
use crate::party::Party;

/// How long an ensemble is idle before its memory is looked at.
const IDLE: Duration = Duration::from_secs(8);

/// Medians of a load row for one kind.
#[derive(Clone, Copy)]
pub struct Figures {
    pub ops_per_s: f64,
    /// Of all servers together.
    pub cpu_s_per_million: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Share of a processor the generator used: near one, the server may be faster than this.
    pub generator: f64,
    /// At least one round stayed disturbed.
    pub disturbed: bool,
}

pub struct LoadResult {
    pub title: String,
    pub apache: Option<Figures>,
    pub ringkeeper: Option<Figures>,
}

/// A measurement that is one number; smaller is better.
pub struct Single {
    pub title: String,
    pub unit: &'static str,
    pub apache: Option<f64>,
    pub ringkeeper: Option<f64>,
}

impl Single {
    fn new(title: String, unit: &'static str, kinds: &[Kind], values: &mut [Vec<f64>]) -> Single {
        let mut single = Single { title, unit, apache: None, ringkeeper: None };
        for (kind, values) in kinds.iter().zip(values) {
            *match kind {
                Kind::Apache => &mut single.apache,
                Kind::Ringkeeper => &mut single.ringkeeper,
            } = Some(median(values));
        }
        single
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

fn number(report: &serde_json::Value, name: &str) -> Result<f64, String> {
    report[name].as_f64().ok_or(format!("the generator's report has no {name}"))
}

/// Both kinds run, warmed up, through all load rows; a single server is paused while it is not its turn.
/// What ensembles hold in memory when that is over comes along with the results.
pub fn measure_load(
    options: &Options,
    kinds: &[Kind],
    loads: &[Load],
) -> Result<(Vec<LoadResult>, Option<Single>), String> {
    let mut parties = warm_parties(options, kinds)?;
    let mut results = Vec::new();
    for load in loads {
        let mut rounds: Vec<Vec<Round>> = kinds.iter().map(|_| Vec::new()).collect();
        for number in 0..options.rounds() {
            for (party, rounds) in parties.iter_mut().zip(&mut rounds) {
                let what = format!("{} round {} {:?}", load.title(), number + 1, party.kind);
                let round = party.alone(|party| {
                    generator::undisturbed(options, party, &what, |party| generator::load(options, party, load))
                })?;
                let rate = round.report["ops_per_s"].as_f64().unwrap_or_default();
                eprintln!("versus: {what}: {rate:.0} operations/s");
                rounds.push(round);
            }
        }
        let mut result = LoadResult { title: load.title(), apache: None, ringkeeper: None };
        for (kind, rounds) in kinds.iter().zip(&rounds) {
            *match kind {
                Kind::Apache => &mut result.apache,
                Kind::Ringkeeper => &mut result.ringkeeper,
            } = Some(figures(options, load, rounds)?);
        }
        results.push(result);
    }
    if !options.ensemble {
        return Ok((results, None));
    }
    std::thread::sleep(IDLE);
    let bytes: Result<Vec<Vec<f64>>, String> =
        parties.iter().map(|party| Ok(vec![party.resident_bytes()? as f64 / 1e6])).collect();
    let title = "three servers after the load above, resident".into();
    Ok((results, Some(Single::new(title, "MB", kinds, &mut bytes?))))
}

/// Medians over the quiet rounds; if there is none, over all, and marked.
fn figures(options: &Options, load: &Load, rounds: &[Round]) -> Result<Figures, String> {
    let quiet: Vec<&Round> = rounds.iter().filter(|round| round.noise <= options.noise).collect();
    let used = if quiet.is_empty() { rounds.iter().collect() } else { quiet.clone() };
    let of = |read: &dyn Fn(&serde_json::Value) -> Result<f64, String>| {
        let values: Result<Vec<f64>, String> = used.iter().map(|round| read(&round.report)).collect();
        values.map(|mut values| median(&mut values))
    };
    Ok(Figures {
        ops_per_s: of(&|report| number(report, "ops_per_s"))?,
        cpu_s_per_million: of(&|report| number(report, "server_cpu_s_per_million"))?,
        p50_us: of(&|report| number(&report[load.latency_of()], "p50_us"))?,
        p99_us: of(&|report| number(&report[load.latency_of()], "p99_us"))?,
        generator: of(&|report| number(report, "generator_cpu"))?,
        disturbed: quiet.len() * 2 < rounds.len(),
    })
}

fn warm_parties(options: &Options, kinds: &[Kind]) -> Result<Vec<Party>, String> {
    let mut parties = Vec::new();
    for kind in kinds {
        let party = Party::start(options, *kind, "load", &options.jvm)?;
        eprintln!("versus: warming up {kind:?}");
        generator::warm_up(options, &party)?;
        party.rest()?;
        parties.push(party);
    }
    Ok(parties)
}

/// Time until all watchers of a znode were told.
pub fn measure_watchers(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut parties = warm_parties(options, kinds)?;
    let mut values: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    let count = options.watchers.to_string();
    for _ in 0..options.rounds() {
        for (party, values) in parties.iter_mut().zip(&mut values) {
            let what = format!("watchers {:?}", party.kind);
            let round = party.alone(|party| {
                generator::undisturbed(options, party, &what, |party| {
                    generator::one_shot(options, party, "watchers", &["--connections", &count])
                })
            })?;
            let micros = number(&round.report, "median_us")?;
            eprintln!("versus: {what}: {:.2} ms", micros / 1e3);
            values.push(micros / 1e3);
        }
    }
    Ok(Single::new(format!("{count} watchers of one znode told"), "ms", kinds, &mut values))
}

/// Memory per idle session, in a server that was just started.
pub fn measure_sessions(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    let count = options.sessions.to_string();
    for _ in 0..options.single_rounds() {
        for (kind, values) in kinds.iter().zip(&mut values) {
            let party = Party::start(options, *kind, "sessions", &options.jvm)?;
            let report = generator::one_shot(options, &party, "idle-sessions", &["--connections", &count])?;
            let bytes = number(&report, "bytes_per_session")?;
            eprintln!("versus: {count} idle sessions {kind:?}: {bytes:.0} bytes each");
            values.push(bytes);
        }
    }
    Ok(Single::new(format!("{count} idle sessions, each"), "bytes", kinds, &mut values))
}

/// Memory with many znodes, and how long a restart with them takes until a read is answered.
pub fn measure_znodes(options: &Options, kinds: &[Kind]) -> Result<Vec<Single>, String> {
    let empty = || kinds.iter().map(|_| Vec::new()).collect::<Vec<Vec<f64>>>();
    let (mut resident, mut each, mut clean, mut killed, mut disk) = (empty(), empty(), empty(), empty(), empty());
    for _ in 0..options.single_rounds() {
        for (place, kind) in kinds.iter().enumerate() {
            let mut party = Party::start(options, *kind, "znodes", &options.jvm_znodes)?;
            let report = load_znodes(options, &party)?;
            let server = &mut party.servers[0];
            resident[place].push(number(&report, "server_rss_after")? / 1e6);
            each[place].push(number(&report, "bytes_per_znode")?);
            for (hard, values) in [(false, &mut clean), (true, &mut killed)] {
                server.stop(hard)?;
                let took = server.launch()?.as_secs_f64();
                eprintln!("versus: restart of {kind:?} after {}: {took:.2} s", if hard { "kill -9" } else { "stop" });
                values[place].push(took);
            }
            disk[place].push(bytes_below(&options.dir.join(format!("znodes-{kind:?}").to_lowercase())) as f64 / 1e6);
        }
    }
    let znodes = format!("{} znodes of 100 bytes", options.znodes);
    Ok(vec![
        Single::new(format!("{znodes}, resident"), "MB", kinds, &mut resident),
        Single::new(format!("{znodes}, each"), "bytes", kinds, &mut each),
        Single::new("restart with them after a stop, until it serves".into(), "s", kinds, &mut clean),
        Single::new("restart with them after kill -9, until it serves".into(), "s", kinds, &mut killed),
        Single::new("on disk with them".into(), "MB", kinds, &mut disk),
    ])
}

fn load_znodes(options: &Options, party: &Party) -> Result<serde_json::Value, String> {
    let count = options.znodes.to_string();
    let more = ["--root", "/znodes", "--keep", "--count", &count, "--value-bytes", "100"];
    generator::one_shot(options, party, "load-znodes", &more)
}

/// Memory of an ensemble that was just started and does nothing.
pub fn measure_idle(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.single_rounds() {
        for (kind, values) in kinds.iter().zip(&mut values) {
            let party = Party::start(options, *kind, "idle", &options.jvm)?;
            std::thread::sleep(IDLE);
            let megabytes = party.resident_bytes()? as f64 / 1e6;
            eprintln!("versus: three idle servers {kind:?}: {megabytes:.1} MB");
            values.push(megabytes);
        }
    }
    Ok(Single::new("three servers just started, resident".into(), "MB", kinds, &mut values))
}

/// How long a follower with an empty disk takes until it serves, in an ensemble with many znodes.
pub fn measure_fill(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values: Vec<Vec<f64>> = kinds.iter().map(|_| Vec::new()).collect();
    let mut parties = Vec::new();
    for kind in kinds {
        let party = Party::start(options, *kind, "fill", &options.jvm_znodes)?;
        load_znodes(options, &party)?;
        parties.push(party);
    }
    for round in 0..options.rounds() {
        for (party, values) in parties.iter_mut().zip(&mut values) {
            let members = party.servers.len();
            let place = (party.leader()? + 1 + round % (members - 1)) % members;
            let follower = &mut party.servers[place];
            follower.stop(true)?;
            follower.empty()?;
            let took = follower.launch()?.as_secs_f64();
            eprintln!("versus: an empty follower of {:?} serves after {took:.2} s", party.kind);
            values.push(took);
            party.wait_until_it_serves()?;
        }
    }
    let title = format!("empty follower, {} znodes of 100 bytes, until it serves", options.znodes);
    Ok(Single::new(title, "s", kinds, &mut values))
}

/// Bytes that the files below `dir` occupy.
fn bytes_below(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
