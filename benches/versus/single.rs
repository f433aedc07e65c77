//! The measurements of one number: memory, restarts, watchers. Only servers that keep something have them.

use std::fs;

use crate::generator;
use crate::load::{IDLE, median, number, warm_parties};
use crate::machine;
use crate::options::{Kind, Options};
use crate::party::Party;
use crate::server::Manner;

/// A measurement that is one number; smaller is better.
pub struct Single {
    pub title: String,
    pub unit: &'static str,
    pub values: Vec<(Kind, f64)>,
}

/// What was measured of each kind, round by round.
type Values = Vec<Vec<f64>>;

impl Single {
    /// The medians.
    pub fn new(title: String, unit: &'static str, kinds: &[Kind], values: &mut [Vec<f64>]) -> Single {
        let values = kinds.iter().zip(values).map(|(kind, values)| (*kind, median(values))).collect();
        Single { title, unit, values }
    }
}

fn nothing_yet(kinds: &[Kind]) -> Values {
    kinds.iter().map(|_| Vec::new()).collect()
}

/// As many connections as there are ports for between two addresses of this machine, and some to spare.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;
/// Descriptors of a process besides its connections.
const OTHER_FILES: usize = 1_000;

/// Time until all watchers of a znode were told; without a value where the machine does not allow so many.
pub fn measure_watchers(options: &Options, kinds: &[Kind], count: usize) -> Result<Single, String> {
    let title = format!("{count} watchers of one znode told");
    if let Err(why) = machine::allow_files(count + OTHER_FILES) {
        eprintln!("versus: {count} watchers are left out: {why}");
        return Ok(Single { title, unit: "ms", values: Vec::new() });
    }
    let crowd = count > CONNECTIONS_PER_ADDRESS;
    let jvm = if crowd { &options.jvm_znodes } else { &options.jvm };
    let manner = Manner { listen: "0.0.0.0", ..Manner::plain("watchers", jvm) };
    let mut parties = warm_parties(options, kinds, &manner)?;
    let mut values = nothing_yet(kinds);
    // Of so many watchers a few tellings are enough to know the middle one.
    let tellings = if crowd || options.quick { "5" } else { "21" };
    for _ in 0..if crowd { options.single_rounds() } else { options.rounds() } {
        for (party, values) in parties.iter_mut().zip(&mut values) {
            let what = format!("{count} watchers of {}", party.kind);
            let round = party.alone(|party| {
                generator::undisturbed(options, party, &what, |party| {
                    let addresses: Vec<String> = (1..=count.div_ceil(CONNECTIONS_PER_ADDRESS))
                        .map(|last| format!("127.0.0.{last}:{}", party.servers[0].port()))
                        .collect();
                    let more = ["--connections", &count.to_string(), "--rounds", tellings];
                    generator::one_shot_at(options, party, &addresses.join(","), "watchers", &more)
                })
            })?;
            let millis = number(&round.report, "median_us")? / 1e3;
            eprintln!("versus: {what}: {millis:.2} ms");
            values.push(millis);
        }
    }
    Ok(Single::new(title, "ms", kinds, &mut values))
}

/// Memory per idle session, in a server that was just started.
pub fn measure_sessions(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values = nothing_yet(kinds);
    let count = options.sessions.to_string();
    for _ in 0..options.single_rounds() {
        for (kind, values) in kinds.iter().zip(&mut values) {
            let party = Party::start(options, *kind, &Manner::plain("sessions", &options.jvm))?;
            let report = generator::one_shot(options, &party, "idle-sessions", &["--connections", &count])?;
            let bytes = number(&report, "bytes_per_session")?;
            eprintln!("versus: {count} idle sessions of {kind}: {bytes:.0} bytes each");
            values.push(bytes);
        }
    }
    Ok(Single::new(format!("{count} idle sessions, each"), "bytes", kinds, &mut values))
}

/// Memory and disk with many znodes, and the memory of a second shard, which only ringkeeper has.
pub fn measure_znodes(options: &Options, kinds: &[Kind]) -> Result<Vec<Single>, String> {
    let (mut resident, mut each, mut disk) = (nothing_yet(kinds), nothing_yet(kinds), nothing_yet(kinds));
    let mut further = Vec::new();
    let manner = Manner::plain("znodes", &options.jvm_znodes);
    for _ in 0..options.single_rounds() {
        for (place, kind) in kinds.iter().enumerate() {
            let party = Party::start(options, *kind, &manner)?;
            let report = load_znodes(options, &party, options.znodes)?;
            let bytes = number(&report, "bytes_per_znode")?;
            eprintln!("versus: {} znodes of {kind}: {bytes:.0} bytes each", options.znodes);
            resident[place].push(number(&report, "server_rss_after")? / 1e6);
            each[place].push(bytes);
            disk[place].push(bytes_below(party.servers[0].dir()) as f64 / 1e6);
            drop(party);
            if *kind == Kind::Ringkeeper {
                let party = Party::start(options, *kind, &Manner { shards: Some(2), ..manner })?;
                let report = load_znodes(options, &party, options.znodes)?;
                further.push(number(&report, "bytes_per_znode")? - bytes);
            }
        }
    }
    let znodes = format!("{} znodes of 100 bytes", options.znodes);
    let mut singles = vec![
        Single::new(format!("{znodes}, resident"), "MB", kinds, &mut resident),
        Single::new(format!("{znodes}, each"), "bytes", kinds, &mut each),
        Single::new("on disk with them".into(), "MB", kinds, &mut disk),
    ];
    if !further.is_empty() {
        let title = "each of them, for a second shard".into();
        singles.push(Single::new(title, "bytes", &[Kind::Ringkeeper], &mut [further]));
    }
    Ok(singles)
}

/// How long a restart with many znodes takes until a read is answered.
pub fn measure_start(options: &Options, kinds: &[Kind], znodes: u64) -> Result<Vec<Single>, String> {
    let (mut clean, mut killed) = (nothing_yet(kinds), nothing_yet(kinds));
    for (place, kind) in kinds.iter().enumerate() {
        let mut party = Party::start(options, *kind, &Manner::plain("start", &options.jvm_znodes))?;
        load_znodes(options, &party, znodes)?;
        let server = &mut party.servers[0];
        for _ in 0..options.single_rounds() {
            for (hard, values) in [(true, &mut killed), (false, &mut clean)] {
                server.stop(hard)?;
                let took = server.launch()?.as_secs_f64();
                let end = if hard { "kill -9" } else { "a stop" };
                eprintln!("versus: {kind} with {znodes} znodes serves {took:.2} s after {end}");
                values[place].push(took);
            }
        }
    }
    let title = |end: &str| format!("restart with {znodes} znodes after {end}, until a read is answered");
    Ok(vec![
        Single::new(title("a stop"), "s", kinds, &mut clean),
        Single::new(title("kill -9"), "s", kinds, &mut killed),
    ])
}

pub fn load_znodes(options: &Options, party: &Party, count: u64) -> Result<serde_json::Value, String> {
    let count = count.to_string();
    let more = ["--root", "/znodes", "--keep", "--count", &count, "--value-bytes", "100"];
    generator::one_shot(options, party, "load-znodes", &more)
}

/// Memory of an ensemble that was just started and does nothing.
pub fn measure_idle(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values = nothing_yet(kinds);
    for _ in 0..options.single_rounds() {
        for (kind, values) in kinds.iter().zip(&mut values) {
            let party = Party::start(options, *kind, &Manner::plain("idle", &options.jvm))?;
            std::thread::sleep(IDLE);
            let megabytes = party.resident_bytes()? as f64 / 1e6;
            eprintln!("versus: three idle servers of {kind}: {megabytes:.1} MB");
            values.push(megabytes);
        }
    }
    Ok(Single::new("three servers just started, resident".into(), "MB", kinds, &mut values))
}

/// How long a follower with an empty disk takes until it serves, in an ensemble with many znodes.
pub fn measure_fill(options: &Options, kinds: &[Kind]) -> Result<Single, String> {
    let mut values = nothing_yet(kinds);
    let mut parties = Vec::new();
    for kind in kinds {
        let party = Party::start(options, *kind, &Manner::plain("fill", &options.jvm_znodes))?;
        load_znodes(options, &party, options.znodes)?;
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
            eprintln!("versus: an empty follower of {} serves after {took:.2} s", party.kind);
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
