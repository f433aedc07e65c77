//! What the server says about its machine and its configuration: the facts behind envi, conf, dirs and two gauges.
//!
//! Counting descriptors and adding up file sizes takes milliseconds on a busy server, so an ordinary thread does it
//! every few seconds and leaves the result on a [`Board`]; the replica's executor takes it from there on a tick and
//! never waits for it.
//!
//! Does not know: what the words' texts look like.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, getuid};

use super::ensemble::ensemble_settings;
use super::files::DataDirs;
use crate::base::PeerAddress;
use crate::config::Config;
use crate::mail::HostFacts;
use crate::replica::EnsembleSettings;

/// Age of sizes and counts, at most.
const REFRESH: Duration = Duration::from_secs(3);

/// ZooKeeper's number comes first because tools tell from it what a server can do (parity FL-46).
const VERSION: &str = concat!(
    "3.9.5-ringkeeper-",
    env!("CARGO_PKG_VERSION"),
    "-",
    env!("RINGKEEPER_COMMIT"),
    ", built on ",
    env!("RINGKEEPER_DATE"),
);

/// The latest facts, from the thread that gathers them to the executor that shows them.
#[derive(Default)]
pub struct Board(Mutex<Option<HostFacts>>);

impl Board {
    fn post(&self, facts: HostFacts) {
        *self.0.lock().expect("no holder panics") = Some(facts);
    }

    /// What was posted since the last look; `None` too when it is being written right now.
    pub fn take(&self) -> Option<HostFacts> {
        self.0.try_lock().ok()?.take()
    }
}

/// What does not change while the server runs.
#[derive(Clone)]
pub struct Host {
    environment: Vec<(&'static str, String)>,
    configuration: Vec<(&'static str, String)>,
    membership: Option<String>,
    snapshots: PathBuf,
    journal: PathBuf,
}

impl Host {
    pub fn new(config: &Config, dirs: &DataDirs) -> Host {
        let port = config.client.client_addr.map(|address| address.port());
        let snapshots = absolute(dirs.snapshot_folder());
        let journal = absolute(dirs.journal_folder());
        let mut configuration = configuration(config, port, &snapshots, &journal);
        let mut membership = None;
        if let Some(ensemble) = ensemble_settings(config) {
            configuration.extend(member_configuration(&ensemble));
            membership = Some(ensemble.view.to_text());
        }
        Host { environment: environment(), configuration, membership, snapshots, journal }
    }

    /// The port the kernel chose, where 0 was configured.
    pub fn set_client_port(&mut self, port: u16) {
        let line = self.configuration.iter_mut().find(|(key, _)| *key == "clientPort");
        line.expect("conf has it").1 = port.to_string();
    }

    /// Everything as it is now. Reads directories: not for an executor that serves clients.
    pub fn facts(&self) -> HostFacts {
        let owned = |lines: &[(&'static str, String)]| -> Vec<(String, String)> {
            lines.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        let mut environment = owned(&self.environment);
        environment.extend(memory().map(|(key, bytes)| (key.to_owned(), in_megabytes(bytes))));
        HostFacts {
            environment,
            configuration: owned(&self.configuration),
            membership: self.membership.clone(),
            data_dir_size_bytes: size_of(&self.snapshots),
            log_dir_size_bytes: size_of(&self.journal),
            open_file_descriptor_count: open_descriptors(),
            max_file_descriptor_count: max_descriptors(),
            version: VERSION.to_owned(),
        }
    }

    /// Keeps `board` fresh from a thread of its own, for as long as somebody else holds the board too.
    ///
    /// Errors: the thread cannot be made.
    pub fn watch(self, board: &Arc<Board>) -> io::Result<()> {
        let board = Arc::downgrade(board);
        thread::Builder::new().name("host-facts".to_owned()).spawn(move || {
            while let Some(board) = board.upgrade() {
                board.post(self.facts());
                drop(board);
                thread::sleep(REFRESH);
            }
        })?;
        Ok(())
    }
}

/// The lines of conf without the two sizes (parity FL-40, of any server).
fn configuration(config: &Config, port: Option<u16>, snapshots: &Path, journal: &Path) -> Vec<(&'static str, String)> {
    let client = &config.client;
    let or_minus_one = |value: Option<String>| value.unwrap_or_else(|| "-1".to_owned());
    vec![
        ("clientPort", or_minus_one(port.map(|port| port.to_string()))),
        ("secureClientPort", or_minus_one(None)), // No TLS listener.
        ("dataDir", snapshots.display().to_string()),
        ("dataLogDir", journal.display().to_string()),
        ("tickTime", client.tick_time_ms.to_string()),
        ("maxClientCnxns", client.max_client_cnxns.to_string()),
        ("minSessionTimeout", client.min_session_timeout_ms.to_string()),
        ("maxSessionTimeout", client.max_session_timeout_ms.to_string()),
        ("clientPortListenBacklog", or_minus_one(client.listen_backlog.map(|backlog| backlog.to_string()))),
        // A standalone server's is 0, whatever myid says.
        ("serverId", config.ensemble.as_ref().map_or(0, |ensemble| ensemble.my_id).to_string()),
    ]
}

/// The lines a member of an ensemble adds (ZK: QuorumZooKeeperServer.dumpConf).
fn member_configuration(ensemble: &EnsembleSettings) -> Vec<(&'static str, String)> {
    let ports = |port: fn(&PeerAddress) -> u16, addresses: Vec<PeerAddress>| {
        let ports: BTreeSet<u16> = addresses.iter().map(port).collect();
        ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|")
    };
    let own = ensemble.own();
    vec![
        ("initLimit", ensemble.init_limit_ticks.to_string()),
        ("syncLimit", ensemble.sync_limit_ticks.to_string()),
        ("electionAlg", "3".to_owned()), // The only one there is since 3.5.
        ("electionPort", ports(|at| at.port, own.election_addresses())),
        ("quorumPort", ports(|at| at.port, own.quorum_addresses())),
        ("peerType", i32::from(ensemble.observer).to_string()),
    ]
}

/// The lines of envi in ZooKeeper's order (parity FL-24, with 3.9's keys). There is no Java, so its lines stay empty,
/// which prints `<NA>`; where a line is about the system or the user, it tells what Java would.
fn environment() -> Vec<(&'static str, String)> {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let folder = |path: io::Result<PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
    let (user, home) = user();
    vec![
        ("host.name", text(system.nodename())),
        ("java.version", String::new()),
        ("java.vendor", String::new()),
        ("java.home", String::new()),
        ("java.class.path", String::new()),
        ("java.library.path", String::new()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", String::new()),
        ("os.name", text(system.sysname())),
        ("os.arch", java_arch(std::env::consts::ARCH).to_owned()),
        ("os.version", text(system.release())),
        ("user.name", user),
        ("user.home", home),
        ("user.dir", folder(std::env::current_dir())),
    ]
}

/// Java has names of its own for some.
fn java_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        other => other,
    }
}

/// Name and home of the user this process runs as; empty where unknown.
fn user() -> (String, String) {
    let uid = getuid().as_raw().to_string();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    account(&accounts, &uid).unwrap_or_else(|| (variable("USER"), variable("HOME")))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Looks a user id up in the text of passwd(5).
fn account(accounts: &str, uid: &str) -> Option<(String, String)> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid)).then(|| (fields[0].to_owned(), fields.get(5).copied().unwrap_or("").to_owned()))
    })
}

/// The three lines about memory, in bytes. Java tells of its heap; here `total` is the machine's memory, `max` what
/// this process may take of it (its control group's limit), and `free` what it could still get.
fn memory() -> [(&'static str, Option<u64>); 3] {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo(&table, "MemTotal");
    let limit = group_limit();
    let max = match (total, limit) {
        (Some(total), Some(limit)) => Some(total.min(limit)),
        (total, limit) => total.or(limit),
    };
    let free = meminfo(&table, "MemAvailable").map(|free| max.map_or(free, |max| free.min(max)));
    [("os.memory.free", free), ("os.memory.max", max), ("os.memory.total", total)]
}

/// One line of /proc/meminfo, which counts in KiB.
fn meminfo(table: &str, key: &str) -> Option<u64> {
    let rest = table.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The memory limit of this process' control group; `None` when it has none.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max")).ok()?;
    limit.trim().parse().ok()
}

fn in_megabytes(bytes: Option<u64>) -> String {
    bytes.map(|bytes| format!("{}MB", bytes >> 20)).unwrap_or_default()
}

/// Bytes of all files below a folder. What vanishes meanwhile counts nothing: segments are purged at any time.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => size_of(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// -1 when /proc is not there.
fn open_descriptors() -> i64 {
    // One of them is the directory being read.
    fs::read_dir("/proc/self/fd").map_or(-1, |entries| entries.count() as i64 - 1)
}

/// What the kernel allows this process; without a limit, the largest number there is.
fn max_descriptors() -> i64 {
    getrlimit(Resource::Nofile).current.map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

/// Relative to where the server was started, as the configuration is read.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_starts_with_a_number_of_zookeepers() {
        let (number, rest) = VERSION.split_once('-').unwrap();
        let parts: Vec<u32> = number.split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(parts, [3, 9, 5]);
        let (ours, date) = rest.split_once(", built on ").unwrap();
        assert!(ours.starts_with(concat!("ringkeeper-", env!("CARGO_PKG_VERSION"), "-")), "{ours}");
        assert!(!date.is_empty());
    }

    #[test]
    fn sizes_are_added_up_through_folders() {
        let root = std::env::temp_dir().join(format!("ringkeeper-host-{}", std::process::id()));
        fs::create_dir_all(root.join("deeper")).unwrap();
        fs::write(root.join("a"), [0; 10]).unwrap();
        fs::write(root.join("deeper/b"), [0; 300]).unwrap();
        assert_eq!(size_of(&root), 310);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(size_of(&root), 0);
    }

    #[test]
    fn descriptors_are_counted() {
        let before = open_descriptors();
        let held: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open files too, but not minus fifty.
        assert!(open_descriptors() >= before + 25, "{before} and {} more", held.len());
        assert!(max_descriptors() >= open_descriptors());
    }

    #[test]
    fn users_and_memory_are_read_from_their_tables() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nkeeper:x:2181:2181::/var/lib/keeper:/bin/false\nodd:x:7\n";
        assert_eq!(account(accounts, "2181").unwrap(), ("keeper".to_owned(), "/var/lib/keeper".to_owned()));
        assert_eq!(account(accounts, "7").unwrap(), ("odd".to_owned(), String::new()));
        assert_eq!(account(accounts, "1"), None);
        let table = "MemTotal:        8000 kB\nMemAvailable:    5000 kB\n";
        assert_eq!(meminfo(table, "MemAvailable"), Some(5000 * 1024));
        assert_eq!(meminfo(table, "Mem"), None);
        assert_eq!((in_megabytes(Some(3 << 20)), in_megabytes(None)), ("3MB".to_owned(), String::new()));
    }

    #[test]
    fn a_board_gives_its_facts_once_and_the_watch_ends_with_it() {
        let board = Arc::new(Board::default());
        assert_eq!(board.take(), None);
        let host = Host {
            environment: environment(),
            configuration: Vec::new(),
            membership: None,
            snapshots: "/nowhere".into(),
            journal: "/nowhere".into(),
        };
        board.post(host.facts());
        let facts = board.take().unwrap();
        assert_eq!(facts.environment.len(), 17);
        assert_eq!(facts.version, VERSION);
        assert_eq!(board.take(), None);
    }
}
