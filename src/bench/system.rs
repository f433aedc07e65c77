//! What the machine says: processor time and memory of a process, affinity, file limits.

use std::fs;

/// Linux reports process times in these units on every architecture it supports (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time that processes have used so far, with all their threads, in seconds (proc(5), `stat`).
pub fn cpu_seconds(pids: &[u32]) -> Result<f64, String> {
    pids.iter().map(|pid| times_in(&format!("/proc/{pid}/stat"))).sum()
}

/// The same of one thread of our own.
pub fn thread_cpu_seconds(thread: u32) -> Result<f64, String> {
    times_in(&format!("/proc/self/task/{thread}/stat"))
}

/// The calling thread's id.
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

fn times_in(path: &str) -> Result<f64, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    // The command name may contain blanks and parentheses; the fields begin after its last one.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).ok_or(format!("{path}: no command name"))?;
    let mut fields = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) as f64 / TICKS_PER_SECOND),
        _ => Err(format!("{path}: no times in it")),
    }
}

/// Resident memory of processes in bytes (proc(5), `status`, VmRSS); what they share counts for each.
pub fn resident_bytes(pids: &[u32]) -> Result<u64, String> {
    pids.iter().map(|pid| resident_in(*pid)).sum()
}

fn resident_in(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or(format!("{path}: no VmRSS in it"))
}

/// Binds the calling thread to one processor.
pub fn pin_to(cpu: usize) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|e| format!("cannot pin to CPU {cpu}: {e}"))
}

/// Raises the limit of open files as far as allowed and checks that `needed` fit.
pub fn raise_file_limit(needed: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    // Whoever may raise the hard limit (root) gets what is needed; the others get the hard limit.
    let wanted = Rlimit { current: Some(needed.max(hard)), maximum: Some(needed.max(hard)) };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    match getrlimit(Resource::Nofile).current {
        Some(now) if now < needed => {
            Err(format!("{needed} open files are needed but only {now} allowed; raise it with `ulimit -n {needed}`"))
        }
        _ => Ok(()),
    }
}

/// Parses a list of processors: `1`, `1,3`, `0-3,6`.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        match (low.trim().parse::<usize>(), high.trim().parse::<usize>()) {
            (Ok(low), Ok(high)) if low <= high && high < 1024 => cpus.extend(low..=high),
            _ => return Err(format!("`{part}` is no processor or range of processors (like 1 or 0-3)")),
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists() {
        assert_eq!(parse_cpu_list("1"), Ok(vec![1]));
        assert_eq!(parse_cpu_list("0-2,5"), Ok(vec![0, 1, 2, 5]));
        assert!(parse_cpu_list("2-1").is_err());
        assert!(parse_cpu_list("x").is_err());
    }

    #[test]
    fn our_own_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_bytes(&[pid]).unwrap() > 100_000);
        let before = cpu_seconds(&[pid]).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 100 {
            std::hint::spin_loop();
        }
        assert!(cpu_seconds(&[pid, pid]).unwrap() > 2.0 * before);
    }
}
