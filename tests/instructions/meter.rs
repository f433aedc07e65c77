//! What is counted: everything between entering and leaving one function, which callgrind knows by its name.

/// Set in the run under callgrind.
const COUNTED: &str = "RINGKEEPER_COUNTED";

/// The function's symbol.
pub const SYMBOL: &str = "ringkeeper_counted";

pub fn is_counted() -> bool {
    std::env::var_os(COUNTED).is_some()
}

/// The environment of the run under callgrind.
pub const ENVIRONMENT: (&str, &str) = (COUNTED, "1");

/// Does `work`, which is `operations` operations of the name, and has it counted. A name may come several times.
pub fn count(name: &str, operations: usize, mut work: impl FnMut()) {
    // In the order of the calls, for the one who reads the counts.
    println!("{name}\t{operations}");
    ringkeeper_counted(&mut work);
}

// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn ringkeeper_counted(work: &mut dyn FnMut()) {
    work();
    // Not the last call, or it would become a jump, and callgrind would see this function end before its work.
    std::hint::black_box(());
}
