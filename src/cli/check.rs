//! `check-config`: what a server would make of a configuration on this machine, without starting one.

use std::fmt::Write;

use ringkeeper::config::{Config, ConfigError, Placement, placement};

/// The CPUs this process may use. Errors: the kernel's, which only a broken sandbox gives.
pub fn affinity_mask() -> std::io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// The report, and whether a server would start.
pub fn report(config: &Config, mask: &[usize]) -> (String, bool) {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("writing to a string");
    for setting in &config.effective {
        let place = setting.place.as_ref().map_or("default".to_owned(), |place| place.to_string());
        line(format_args!("{}={}  # {place}: {}", setting.key, setting.value, setting.doc));
    }
    let placed = placement(mask, &config.cores);
    match &placed {
        Ok(placed) => placed_lines(placed).into_iter().for_each(|core| line(format_args!("# {core}"))),
        Err(error) => line(format_args!("# error: {error}")),
    }
    config.warnings.iter().for_each(|notice| line(format_args!("# {:?}: {notice}", notice.level)));
    config.refusals.iter().for_each(|refusal: &ConfigError| line(format_args!("# refused: {refusal}")));
    let starts = placed.is_ok() && config.refusals.is_empty();
    line(format_args!("# {}", if starts { "a server would start" } else { "a server would not start" }));
    (text, starts)
}

/// One line for each executor.
pub fn placed_lines(placed: &Placement) -> Vec<String> {
    let describe = |(index, core): (usize, &ringkeeper::config::Core)| {
        let work = match (core.replica, core.shard) {
            (true, Some(shard)) => format!("replication and shard {shard}"),
            (true, None) => "replication".to_owned(),
            (false, Some(shard)) => format!("shard {shard}"),
            (false, None) => "nothing".to_owned(),
        };
        let cpu = core.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
        format!("executor {index} on {cpu}: {work}")
    };
    placed.cores.iter().enumerate().map(describe).collect()
}
