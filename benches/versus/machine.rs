//! The machine: what it is, whether it has what is needed, and who used it.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::{Kind, Options};

/// Fails with what to install if something is missing.
pub fn require(kinds: &[Kind]) -> Result<(), String> {
    let mut missing = Vec::new();
    for tool in ["taskset", "setpriv"] {
        if !is_in_path(tool) {
            missing.push("util-linux");
        }
    }
    if kinds.contains(&Kind::Apache) {
        if !is_in_path("java") {
            missing.push("default-jre-headless");
        }
        if !Path::new("/usr/share/java/zookeeper.jar").exists() {
            missing.push("zookeeper");
        }
    }
    missing.dedup();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("missing; install with `apt-get install {}` (Debian or Ubuntu)", missing.join(" ")))
    }
}

fn is_in_path(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

/// File system type and device of the mount that holds `path`.
fn file_system(path: &Path) -> Result<(String, String), String> {
    let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
    let mounts = fs::read_to_string("/proc/mounts").map_err(|e| format!("/proc/mounts: {e}"))?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
            path.starts_with(at).then(|| (at.len(), kind.to_string(), device.to_string()))
        })
        // Of mounts over one another at the same place the last one counts.
        .max_by_key(|(length, ..)| *length)
        .map(|(_, kind, device)| (kind, device))
        .ok_or("no mount holds the data directory".into())
}

/// A log in memory syncs for free; comparing there says nothing about durable writes.
pub fn refuse_memory_file_system(dir: &Path) -> Result<(), String> {
    match file_system(dir)?.0.as_str() {
        kind @ ("tmpfs" | "ramfs") => {
            Err(format!("{} is on {kind}, where a sync costs nothing; choose a disk with --dir", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Lets this process, and those it starts, have `count` files open.
pub fn allow_files(count: usize) -> Result<(), String> {
    let (count, limit) = (count as u64, getrlimit(Resource::Nofile));
    // None is no limit.
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(count));
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).map_err(|e| {
        let limit = limit.maximum.unwrap_or_default();
        format!("a process may open {limit} files, not {count} ({e}); raise that with `ulimit -Hn`, or be root")
    })
}

/// What this was measured on and how, as markdown.
pub fn describe(options: &Options, kinds: &[Kind]) -> Result<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model.to_string()))
        .unwrap_or("unknown processor".into());
    let cpus = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    let memory_kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or_default();
    let virtual_machine = if cpu_info.contains(" hypervisor") { ", virtual machine" } else { "" };
    let (fs_kind, device) = file_system(&options.dir)?;
    let mut text = format!(
        "{model}, {cpus} CPUs{virtual_machine}, {:.1} GB memory, Linux {}, data on {fs_kind} ({device}); \
         {} on CPU {}, generator on CPU {}; median of {} rounds of {} s, alternating.",
        memory_kib as f64 * 1024.0 / 1e9,
        read("/proc/sys/kernel/osrelease").trim(),
        if options.ensemble { "each ensemble of three servers" } else { "server" },
        options.server_cpu,
        options.bench_cpu,
        options.rounds(),
        options.duration().as_secs(),
    );
    if kinds.contains(&Kind::Apache) {
        text += &format!(" Apache ZooKeeper {} on {}, {}.", apache_version(), java_version(), options.jvm);
    }
    if kinds.iter().any(|kind| kind.is_floor()) {
        text += " The floor: constant answers, durable writes.";
    }
    if kinds.contains(&Kind::Ringkeeper) {
        let built = options.candidate_cmd.clone().unwrap_or(format!("ringkeeper {}", env!("CARGO_PKG_VERSION")));
        text += &format!(" Candidate: {built}.");
    }
    Ok(text + "\n")
}

/// The version is in the name of the file that Debian's link stands beside.
fn apache_version() -> String {
    let names = fs::read_dir("/usr/share/java").into_iter().flatten().flatten();
    names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?.to_string();
            version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
        })
        .next()
        .unwrap_or("of unknown version".into())
}

fn java_version() -> String {
    let output = Command::new("java").arg("-version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown Java").replace('"', "")
}

/// Processor time used so far, in ticks of a hundredth of a second.
pub struct Usage {
    /// User, nice and system time of the whole machine. Interrupts are left out: those of the network
    /// belong to the traffic that is measured.
    busy: u64,
    /// Time the hypervisor gave to others.
    stolen: u64,
    /// The server, this process, its ended children (the generator), the kernel's own threads.
    ours: u64,
}

impl Usage {
    pub fn take(servers: &[u32]) -> Result<Usage, String> {
        let stat = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
        let all: Vec<u64> = stat.lines().next().map(numbers).unwrap_or_default();
        // cpu user nice system idle iowait irq softirq steal
        let [user, nice, system, _, _, _, _, stolen, ..] = all[..] else { return Err("/proc/stat: too short".into()) };
        let (own, children) = times(std::process::id()).ok_or("no times of this process")?;
        let served: Option<u64> = servers.iter().map(|pid| times(*pid).map(|(own, _)| own)).sum();
        let served = served.ok_or("no times of a server: it has ended")?;
        Ok(Usage { busy: user + nice + system, stolen, ours: own + children + served + kernel_threads() })
    }

    /// Processor seconds, since `before`, that nobody of ours used but somebody did.
    pub fn unexplained_since(&self, before: &Usage) -> f64 {
        let others = (self.busy - before.busy).saturating_sub(self.ours.saturating_sub(before.ours));
        (others + self.stolen - before.stolen) as f64 / 100.0
    }
}

/// Resident bytes of a process (proc(5), `status`, VmRSS).
pub fn resident_bytes(pid: u32) -> Result<u64, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| format!("process {pid}: {e}"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or(format!("process {pid}: no VmRSS"))? * 1024)
}

fn numbers(line: &str) -> Vec<u64> {
    line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect()
}

/// The fields of /proc/PID/stat after the command's name: the state is number 0, the parent number 1.
fn stat_fields(pid: u32) -> Option<Vec<i64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Ticks of a process itself, and of its children that have ended and were waited for.
fn times(pid: u32) -> Option<(u64, u64)> {
    let fields = stat_fields(pid)?;
    let at = |place: usize| fields.get(place).map_or(0, |value| *value as u64);
    Some((at(11) + at(12), at(13) + at(14)))
}

/// Ticks of the kernel's threads (children of number 2): they write the servers' data out.
fn kernel_threads() -> u64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| stat_fields(pid).filter(|fields| fields.get(1) == Some(&2)))
        .map(|fields| (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) as u64)
        .sum()
}
