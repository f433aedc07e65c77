//! Starting, pausing and stopping the two servers.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::generator;
use crate::options::{Kind, Options};

/// How Debian starts its ZooKeeper: this class path, this class.
const APACHE_CLASS_PATH: &str = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar";
const APACHE_MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// How long a server may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed when dropped.
pub struct Server {
    pub kind: Kind,
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
    command: Vec<String>,
    keep: bool,
}

impl Server {
    /// Starts a server on an empty data directory and waits until it serves.
    /// `jvm` are the options of Apache's JVM.
    pub fn start(options: &Options, kind: Kind, name: &str, jvm: &str) -> Result<Server, String> {
        let dir = options.dir.join(format!("{name}-{kind:?}").to_lowercase());
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
        let port = free_port()?;
        let config = dir.join("zoo.cfg");
        fs::write(&config, zoo_cfg(options, kind, &data, port)).map_err(|e| format!("{}: {e}", config.display()))?;
        let command = command_line(options, kind, &config, jvm);
        let mut server = Server { kind, child: None, port, dir, command, keep: options.keep };
        server.launch()?;
        Ok(server)
    }

    /// Starts the process and waits until it serves; returns how long that took.
    pub fn launch(&mut self) -> Result<Duration, String> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("server.log"))
            .map_err(|e| format!("{}: {e}", self.dir.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let start = Instant::now();
        // setpriv sees to it that the server dies with us, even if it is stopped.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("cannot start {:?}: {e}", self.kind))?;
        self.child = Some(child);
        generator::first_read(self).map_err(|e| format!("{e}; see {}", self.dir.join("server.log").display()))?;
        Ok(start.elapsed())
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
        let pid = Pid::from_raw(self.pid() as i32).ok_or(format!("{:?} does not run", self.kind))?;
        kill_process(pid, signal).map_err(|e| format!("{:?}: {e}", self.kind))
    }

    /// Ends the process, with SIGTERM or with SIGKILL, and waits for its end.
    pub fn stop(&mut self, hard: bool) -> Result<(), String> {
        self.signal(if hard { Signal::KILL } else { Signal::TERM })?;
        let start = Instant::now();
        while !self.has_ended() {
            if start.elapsed() > STOP_PATIENCE {
                return Err(format!("{:?} does not stop", self.kind));
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

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.port())
}

/// The same settings for both: what Apache's sample configuration has, and no limit of connections.
fn zoo_cfg(options: &Options, kind: Kind, data: &Path, port: u16) -> String {
    let mut text = format!(
        "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         forceSync=yes\nadmin.enableServer=false\n",
        data.display()
    );
    if kind == Kind::Ringkeeper {
        for line in &options.candidate_cfg {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn command_line(options: &Options, kind: Kind, config: &Path, jvm: &str) -> Vec<String> {
    let config = config.display().to_string();
    let mut command = vec!["taskset".to_string(), "-c".to_string(), options.server_cpu.clone()];
    match (kind, &options.candidate_cmd) {
        (Kind::Apache, _) => {
            command.push("java".into());
            command.extend(jvm.split_whitespace().map(String::from));
            command.extend(["-cp", APACHE_CLASS_PATH, APACHE_MAIN, &config].map(String::from));
        }
        (Kind::Ringkeeper, Some(given)) => {
            command.extend(given.split_whitespace().map(|word| word.replace("{cfg}", &config)));
        }
        (Kind::Ringkeeper, None) => {
            command.extend([generator::binary(), "serve", &config].map(String::from));
        }
    }
    command
}
