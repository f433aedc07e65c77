//! Instructions per operation, counted by valgrind, which no other process on the machine can disturb.
//!
//! `cargo test --profile checked --test instructions` runs itself a second time under callgrind, prints a table and
//! compares it with `expected.txt`. What takes more than [`TOLERANCE`] and [`SLACK`] above what is recorded there fails, if the same compiler, C
//! library and valgrind counted then and now. The last line of a good run is for machines: `instructions: N operations, all within T %`.
//!
//! | variable | meaning |
//! |---|---|
//! | `RINGKEEPER_RECORD` | writes what is counted to `expected.txt`, to be committed |
//!
//! A count depends on the compiler and a little on the C library; `expected.txt` says which ones it is of. An incremental
//! build (CARGO_INCREMENTAL=1) divides the code otherwise and takes about a tenth more.

mod calls;
mod expected;
mod hop;
mod meter;
mod parts;
mod reads;
mod rig;
mod watches;
#[path = "../support/wire.rs"]
mod wire;
mod writes;

use std::process::ExitCode;

use expected::Recorded;

/// How much more than recorded an operation may take: above what the compiler makes of the same code when something elsewhere in the
/// crate changes (4 % was seen), and well above what a tree of another shape or a stack at another address makes, a hundredth.
const TOLERANCE: f64 = 0.05;
/// The same in instructions, for what has few.
const SLACK: f64 = 50.0;

fn main() -> ExitCode {
    if meter::is_counted() {
        reads::count();
        writes::count();
        watches::count();
        parts::count();
        hop::count();
        return ExitCode::SUCCESS;
    }
    match judge() {
        Ok(verdict) => {
            println!("{verdict}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Counts, shows the table, and compares.
///
/// Errors: what went wrong, or which operations take more than they did, and what to do.
fn judge() -> Result<String, String> {
    let counts = calls::count_with_callgrind()?;
    if std::env::var_os("RINGKEEPER_RECORD").is_some() {
        expected::record(&counts)?;
    }
    let recorded = Recorded::read()?;
    let (mut slower, mut faster) = (Vec::new(), 0);
    println!("{:<58}{:>13}{:>13}{:>9}", "instructions per operation", "counted", "recorded", "");
    for (name, counted) in &counts {
        let expected = recorded.of(name)?;
        let more = counted / expected - 1.0;
        println!("{name:<58}{counted:>13.1}{expected:>13.1}{:>+8.1}%", more * 100.0);
        if counted - expected > SLACK.max(TOLERANCE * expected) {
            slower.push(format!("  {name}: {counted:.1} instead of {expected:.1}, {:+.1} %", more * 100.0));
        }
        faster += usize::from(more < -TOLERANCE);
    }
    recorded.has_no_other(&counts)?;
    let percent = TOLERANCE * 100.0;
    if !recorded.is_of_these_tools() {
        println!("{} These counts can be shown and not judged.", recorded.origin());
        return Ok(format!(
            "instructions: {} operations, of other tools than were recorded: not compared",
            counts.len()
        ));
    }
    if !slower.is_empty() {
        return Err(format!(
            "{} of {} operations take over {percent} % more instructions than recorded:\n{}\n{}\nMake them cheaper; or, if \
             the price is meant, record it and say why in the commit: RINGKEEPER_RECORD=1 tests/run instructions",
            slower.len(),
            counts.len(),
            slower.join("\n"),
            recorded.origin()
        ));
    }
    if faster > 0 {
        println!(
            "{faster} operations got cheaper by over {percent} %: keep that with RINGKEEPER_RECORD=1 tests/run instructions"
        );
    }
    Ok(format!("instructions: {} operations, all within {percent} %", counts.len()))
}
