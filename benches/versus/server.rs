//! One server process: starting, pausing and stopping it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::generator;
use crate::options::{Kind, Options};

/// How Debian starts its ZooKeeper: this class path, this class.
const APACHE_CLASS_PATH: &str = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar";
const APACHE_MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// How long a server may take to tell its mode.
const WORD_PATIENCE: Duration = Duration::from_secs(2);
/// How long a server may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How a party's servers are started, apart from what is the same for all.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// Of their data directories, with the kind behind it.
    pub name: &'a str,
    /// Options of Apache's JVM.
    pub jvm: &'a str,
    /// How long servers that can do so look for work before they sleep, in microseconds.
    pub spin_us: u32,
    /// Shards of ringkeeper, if not as many as it takes by itself.
    pub shards: Option<u32>,
    /// Records between snapshots, if not the servers' own default.
    pub snap_count: Option<u32>,
    pub listen: &'a str,
}

impl<'a> Manner<'a> {
    /// As they come.
    pub fn plain(name: &'a str, jvm: &'a str) -> Manner<'a> {
        Manner { name, jvm, spin_us: 0, shards: None, snap_count: None, listen: "127.0.0.1" }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    pub kind: Kind,
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    command: Vec<String>,
    keep: bool,
    /// In an ensemble: the number in its `server.N` line.
    id: Option<usize>,
}

impl Server {
    /// A server on an empty data directory, not started yet. `member` is the server's id in an ensemble and the lines
    /// all its members share.
    pub fn prepare(
        options: &Options,
        kind: Kind,
        manner: &Manner,
        port: u16,
        member: Option<(usize, &str)>,
    ) -> Result<Server, String> {
        let number = member.map_or(String::new(), |(id, _)| id.to_string());
        let dir = options.dir.join(format!("{}-{kind:?}{number}", manner.name).to_lowercase());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        let config = dir.join("zoo.cfg");
        let mut text = zoo_cfg(options, kind, manner, &data, port);
        if let Some((_, lines)) = member {
            text.push_str(lines);
        }
        fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
        let command = command_line(options, kind, manner, &dir, port)?;
        let id = member.map(|(id, _)| id);
        let server = Server { kind, child: None, port, dir, command, keep: options.keep, id };
        server.write_id()?;
        Ok(server)
    }

    fn write_id(&self) -> Result<(), String> {
        let Some(id) = self.id else { return Ok(()) };
        let path = self.dir.join("data/myid");
        fs::write(&path, format!("{id}\n")).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Starts the process and waits until it serves; returns how long that took.
    pub fn launch(&mut self) -> Result<Duration, String> {
        let start = Instant::now();
        self.spawn()?;
        self.wait_until_it_serves()?;
        Ok(start.elapsed())
    }

    /// Starts the process.
    pub fn spawn(&mut self) -> Result<(), String> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .map_err(|e| format!("{}: {e}", self.dir.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        // setpriv sees to it that the server dies with us, even if it is stopped.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", self.kind))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until a session can be opened and a read is answered.
    pub fn wait_until_it_serves(&mut self) -> Result<(), String> {
        generator::first_read(self).map_err(|e| format!("{e}; see {}", self.dir.join("server.log").display()))
    }

    /// Takes everything but its id away from a member that is down.
    pub fn empty(&self) -> Result<(), String> {
        let data = self.dir.join("data");
        fs::remove_dir_all(&data)
            .and_then(|()| fs::create_dir_all(&data))
            .map_err(|e| format!("{}: {e}", data.display()))?;
        self.write_id()
    }

    /// Does it say that it leads?
    pub fn leads(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut link = TcpStream::connect(("127.0.0.1", self.port))?;
            link.set_read_timeout(Some(WORD_PATIENCE))?;
            link.write_all(b"srvr")?;
            let mut answer = String::new();
            link.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains("Mode: leader"))
    }

    /// Where it keeps its data and its log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Has the process ended by itself?
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Halts the process, so that it uses nothing while another is measured.
    pub fn pause(&self) -> Result<(), String> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<(), String> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_raw(self.pid() as i32).ok_or(format!("{} does not run", self.kind))?;
        kill_process(pid, signal).map_err(|e| format!("{}: {e}", self.kind))
    }

    /// Ends the process, with SIGTERM or with SIGKILL, and waits for its end.
    pub fn stop(&mut self, hard: bool) -> Result<(), String> {
        self.signal(if hard { Signal::KILL } else { Signal::TERM })?;
        let start = Instant::now();
        while !self.has_ended() {
            if start.elapsed() > STOP_PATIENCE {
                return Err(format!("{} does not stop", self.kind));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = None;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // After a failure the log is what one wants to read.
        if !self.keep && !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.dir.join("data"));
        }
    }
}

/// Ports that nobody uses, below those the kernel gives to outgoing connections: a member that restarts finds its own again.
pub fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let first = 12_000 + (std::process::id() % 10_000) as u16;
    let found: Vec<u16> =
        (first..32_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect();
    if found.len() == count { Ok(found) } else { Err("no free ports".into()) }
}

/// The same settings for both: what Apache's sample configuration has, and no limit of connections. The floor reads none.
fn zoo_cfg(options: &Options, kind: Kind, manner: &Manner, data: &Path, port: u16) -> String {
    let mut lines = vec![
        "tickTime=2000".to_string(),
        format!("dataDir={}", data.display()),
        format!("clientPort={port}"),
        format!("clientPortAddress={}", manner.listen),
        "maxClientCnxns=0".to_string(),
        "forceSync=yes".to_string(),
        "admin.enableServer=false".to_string(),
    ];
    lines.extend(manner.snap_count.map(|count| format!("snapCount={count}")));
    if kind == Kind::Ringkeeper {
        lines.extend((manner.spin_us > 0).then(|| format!("ringkeeper.spinBeforeParkUs={}", manner.spin_us)));
        lines.extend(manner.shards.map(|count| format!("ringkeeper.shards={count}")));
        lines.extend(options.candidate_cfg.iter().cloned());
    }
    lines.join("\n") + "\n"
}

fn command_line(options: &Options, kind: Kind, manner: &Manner, dir: &Path, port: u16) -> Result<Vec<String>, String> {
    let config = dir.join("zoo.cfg").display().to_string();
    let mut command = vec!["taskset".to_string(), "-c".to_string(), options.server_cpu.clone()];
    match (kind, &options.candidate_cmd) {
        (Kind::Apache, _) => {
            command.push("java".into());
            command.extend(manner.jvm.split_whitespace().map(String::from));
            command.extend(["-cp", APACHE_CLASS_PATH, APACHE_MAIN, &config].map(String::from));
        }
        (Kind::FloorEpoll | Kind::FloorUring, _) => {
            let ourselves = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
            let engine = if kind == Kind::FloorEpoll { "epoll" } else { "uring" };
            let (file, port, spin) = (dir.join("data/log"), port.to_string(), manner.spin_us.to_string());
            command.extend([ourselves.display().to_string(), "floor".into(), "--engine".into(), engine.into()]);
            command.extend(["--port".into(), port, "--file".into(), file.display().to_string()]);
            command.extend(["--spin-us".into(), spin]);
        }
        (Kind::Ringkeeper, Some(given)) => {
            command.extend(given.split_whitespace().map(|word| word.replace("{cfg}", &config)));
        }
        (Kind::Ringkeeper, None) => {
            command.extend([generator::binary(), "serve", &config].map(String::from));
        }
    }
    Ok(command)
}
