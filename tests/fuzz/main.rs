//! Damaged inputs for everything that reads bytes from outside, on the stable toolchain, from a seed.
//!
//! `cargo test --release --test fuzz -- --nocapture [target]`. Each target makes inputs that are valid or nearly so,
//! and knows what must hold for any input at all; no input may make it panic or take much memory.
//!
//! | variable | meaning |
//! |---|---|
//! | `RINGKEEPER_FUZZ_SEED` | where chance starts; without it the clock decides |
//! | `RINGKEEPER_FUZZ_SECONDS` | budget of each target; 6, without optimisation 1 |
//! | `RINGKEEPER_FUZZ_CASE` | only the input of that number, of that seed |
//!
//! A failure prints the seed, the number and the input. As `tests/fuzz/kept/<target>-<what>.hex` it is tried first
//! by every later run. The last line of a good run is for machines: `fuzz: T targets, N inputs, no failure`.

mod apache;
mod connections;
mod dice;
mod disk;
mod peers;
mod settings;
mod txns;
mod wire;

use dice::Dice;
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// One reader of bytes. `make` invents an input, `run` judges one, with nothing kept from the one before.
pub struct Target {
    pub name: &'static str,
    pub make: fn(&mut Dice) -> Vec<u8>,
    pub run: fn(&[u8]),
}

const TARGETS: [Target; 13] = [
    wire::FRAMES,
    wire::REQUESTS,
    wire::HANDSHAKES,
    txns::TRANSACTIONS,
    disk::JOURNALS,
    disk::SNAPSHOTS,
    apache::IMPORTS,
    settings::CONFIGS,
    connections::WORDS,
    connections::CONNECTIONS,
    peers::PACKETS,
    peers::VOTES,
    peers::STREAMS,
];

/// What the process may grow by, in KiB, over all inputs: far above what any of them needs.
const GROWTH_KIB_MAX: u64 = 192 << 10;
/// How often the growth is looked at.
const INPUTS_A_LOOK: u64 = 32;

struct Current {
    target: &'static str,
    seed: u64,
    case: Option<u64>,
    input: Rc<[u8]>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let seed = variable("RINGKEEPER_FUZZ_SEED")
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64) & 0xffff_ffff);
    let default_seconds = if cfg!(debug_assertions) { 1 } else { 6 };
    let budget = Duration::from_secs(variable("RINGKEEPER_FUZZ_SECONDS").unwrap_or(default_seconds));
    let only_case = variable("RINGKEEPER_FUZZ_CASE");
    println!("fuzz: RINGKEEPER_FUZZ_SEED={seed}");
    let standard_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        standard_hook(panic);
        print_current();
        std::process::exit(101);
    }));
    let (mut targets, mut total) = (0, 0);
    for (stream, target) in (1..).zip(&TARGETS) {
        if !wanted.is_empty() && !wanted.iter().any(|name| target.name.contains(&name[..])) {
            continue;
        }
        let inputs = fuzz(target, seed, stream, budget, only_case);
        println!("fuzz {}: {inputs} inputs", target.name);
        let _ = std::io::stdout().flush();
        targets += 1;
        total += inputs;
    }
    println!("fuzz: {targets} targets, {total} inputs, no failure");
}

fn fuzz(target: &Target, seed: u64, stream: u64, budget: Duration, only_case: Option<u64>) -> u64 {
    let try_one = |case: Option<u64>, input: Vec<u8>| {
        let input: Rc<[u8]> = input.into();
        let current = Current { target: target.name, seed, case, input: Rc::clone(&input) };
        CURRENT.with(|place| *place.borrow_mut() = Some(current));
        (target.run)(&input);
    };
    let (start, size_before) = (Instant::now(), peak_kib());
    let look = |inputs: u64| {
        let grown = peak_kib().saturating_sub(size_before);
        assert!(
            grown < GROWTH_KIB_MAX,
            "{}: one of the last {INPUTS_A_LOOK} of {inputs} inputs made the process grow by {grown} KiB",
            target.name
        );
    };
    let mut inputs = 0;
    for input in kept(target.name) {
        try_one(None, input);
        inputs += 1;
        look(inputs);
    }
    let make = |case| (target.make)(&mut Dice::new(seed, stream, case));
    if let Some(case) = only_case {
        try_one(Some(case), make(case));
        look(inputs + 1);
        return inputs + 1;
    }
    for case in 0.. {
        try_one(Some(case), make(case));
        inputs += 1;
        if case % INPUTS_A_LOOK == 0 {
            look(inputs);
            if start.elapsed() >= budget {
                break;
            }
        }
    }
    inputs
}

fn print_current() {
    CURRENT.with(|place| {
        let Ok(place) = place.try_borrow() else { return };
        let Some(current) = &*place else { return };
        let hex: String = current.input.iter().map(|byte| format!("{byte:02x}")).collect();
        match current.case {
            Some(case) => println!(
                "fuzz {}: FAILED; again with RINGKEEPER_FUZZ_SEED={} RINGKEEPER_FUZZ_CASE={case} and the argument {}",
                current.target, current.seed, current.target
            ),
            None => println!("fuzz {}: FAILED with an input that was kept", current.target),
        }
        println!("fuzz {}: input {hex}", current.target);
    });
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Inputs that failed once: `tests/fuzz/kept/<target>-<what>.hex`.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/kept");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    let is_ours = |path: &std::path::PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&format!("{target}-")))
    };
    paths
        .iter()
        .filter(|path| is_ours(path))
        .map(|path| bytes_of_hex(&std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The most memory this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process of itself");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak of the resident memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}
