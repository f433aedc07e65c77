//! A real server for the black-box tests: the binary, a free port and a directory of its own.

// Every test file uses some of it.
#![allow(dead_code)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use zookeeper_client as zk;

pub static OPEN: &zk::CreateOptions<'static> = &zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());

/// A running server; killed and cleaned away when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    /// Holds zoo.cfg and the log.
    pub directory: PathBuf,
    pub data: PathBuf,
}

impl Server {
    /// A server whose data directory is in its own directory; `extra` are lines of zoo.cfg.
    pub fn start(name: &str, extra: &str) -> Server {
        let directory = scratch(name);
        let data = directory.join("data");
        Server::launch_in(directory, data, extra).listening()
    }

    /// A server whose data directory is elsewhere.
    pub fn start_on(data: &Path, name: &str, extra: &str) -> Server {
        Server::launch_on(data, name, extra).listening()
    }

    /// The same without waiting for it: it may be about to fail.
    pub fn launch_on(data: &Path, name: &str, extra: &str) -> Server {
        Server::launch_in(scratch(name), data.to_path_buf(), extra)
    }

    fn launch_in(directory: PathBuf, data: PathBuf, extra: &str) -> Server {
        let port = free_port();
        let settings = format!(
            "clientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=500\ndataDir={}\n{extra}\n",
            data.display()
        );
        std::fs::write(directory.join("zoo.cfg"), settings).unwrap();
        let child = launch(&directory);
        Server { child, port, directory, data }
    }

    fn listening(mut self) -> Server {
        self.wait_until_listening();
        self
    }

    /// Starts it again, after it ended.
    pub fn launch(&mut self) {
        self.child = launch(&self.directory);
    }

    pub fn wait_until_listening(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "no server after 20 s: {}", self.log());
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended; panics if it does not within `patience`.
    pub fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {patience:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    pub async fn client(&self) -> zk::Client {
        self.connector().connect(&self.address()).await.expect("a client connects")
    }

    pub fn connector(&self) -> zk::Connector {
        zk::Client::connector().with_session_timeout(Duration::from_secs(6))
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A new directory of this process.
pub fn scratch(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("ringkeeper-test-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn launch(directory: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
        .arg("serve")
        .arg(directory.join("zoo.cfg"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("the binary starts")
}
