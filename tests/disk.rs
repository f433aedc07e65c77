//! Real disks that misbehave: one that fills up, one that knows no direct I/O. Each is a file system mounted for the
//! test, which takes the right to mount; where that is missing the test counts as not run, and says so. That is why
//! this file has a harness of its own: the usual one knows only passed and failed.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{OPEN, Server, scratch};

/// Why a test was not run.
struct NotRun(String);

type Test = fn() -> Result<(), NotRun>;

const TESTS: &[(&str, Test)] = &[
    ("a_full_disk_ends_the_server_and_loses_nothing", a_full_disk_ends_the_server_and_loses_nothing),
    ("a_disk_too_small_for_the_journal_is_never_served_from", a_disk_too_small_for_the_journal_is_never_served_from),
    ("a_file_system_without_direct_io_is_used_all_the_same", a_file_system_without_direct_io_is_used_all_the_same),
];

fn main() {
    let (mut passed, mut failed, mut not_run) = (0, 0, 0);
    println!("\nrunning {} tests", TESTS.len());
    for (name, test) in TESTS {
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Ok(())) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Err(NotRun(why))) => {
                not_run += 1;
                println!("test {name} ... not run: {why}");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {not_run} ignored");
    std::process::exit(i32::from(failed > 0));
}

/// A file system of this test alone; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, kind: &str, options: &str) -> Result<Mount, NotRun> {
        let place = scratch(name);
        let mounted = run("mount", &["-t", kind, "-o", options, kind, path(&place)]);
        mounted.map(|()| Mount(place)).map_err(|why| NotRun(format!("a {kind} cannot be mounted here: {why}")))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server that was just killed may not have let go of it yet.
        let _ = run("umount", &["-l", path(&self.0)]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a scratch path is text")
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("the test has a runtime").block_on(future)
}

/// Values by which a node is known again: `/full-<n>` holds these.
fn value(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().repeat(VALUE_BYTES / 4);
    bytes[VALUE_BYTES - 1] = !bytes[VALUE_BYTES - 1];
    bytes
}

const VALUE_BYTES: usize = 64 * 1024;
const WRITERS: u32 = 8;

/// Creates nodes of [`VALUE_BYTES`] until the server ends, and returns the numbers it acknowledged.
async fn fill(server: &mut Server, next: &Arc<AtomicU32>) -> Vec<u32> {
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let Ok(client) = server.connector().connect(&server.address()).await else { break };
        let (acknowledged, over, next) = (acknowledged.clone(), over.clone(), next.clone());
        writers.push(tokio::spawn(async move {
            while !over.load(SeqCst) {
                let number = next.fetch_add(1, SeqCst);
                match client.create(&format!("/full-{number}"), &value(number), OPEN).await {
                    Ok(_) => acknowledged.lock().unwrap().push(number),
                    Err(_) => return,
                }
            }
        }));
    }
    let status = server.wait_for_end(Duration::from_secs(60));
    over.store(true, SeqCst);
    assert_eq!(status.code(), Some(1), "a full disk is the end, and not a clean one: {}", server.log());
    for writer in writers {
        writer.abort();
        let _ = writer.await;
    }
    acknowledged.lock().unwrap().clone()
}

async fn all_there(server: &Server, acknowledged: &[u32]) {
    let client = server.client().await;
    for number in acknowledged {
        let found = client.get_data(&format!("/full-{number}")).await;
        let (data, _) = found.unwrap_or_else(|error| panic!("/full-{number} was acknowledged: {error}"));
        assert!(data == value(*number), "/full-{number} has another value than the acknowledged one");
    }
}

fn a_full_disk_ends_the_server_and_loses_nothing() -> Result<(), NotRun> {
    let disk = Mount::new("full-disk", "tmpfs", "size=40m")?;
    // The smallest segments there are, so that the disk is filled by several.
    let mut server = Server::start_on(&disk.0, "full", "preAllocSize=8192");
    let full = |log: &str| log.matches("the disk is full").count();
    on_tokio(async {
        let next = Arc::new(AtomicU32::new(0));
        let mut acknowledged = fill(&mut server, &next).await;
        let log = server.log();
        assert!(acknowledged.len() > 100, "only {} writes fitted: {log}", acknowledged.len());
        assert_eq!(full(&log), 1, "{log}");
        assert!(log.contains("free some space") && log.contains(path(&disk.0)), "what to do, and where: {log}");

        // Started without freeing anything it ends the same way, sooner or later.
        server.launch();
        acknowledged.extend(fill(&mut server, &next).await);
        assert_eq!(full(&server.log()), 2, "{}", server.log());

        run("mount", &["-o", "remount,size=160m", path(&disk.0)]).expect("a mount of ours can grow");
        server.launch();
        server.wait_until_listening();
        all_there(&server, &acknowledged).await;
        let client = server.client().await;
        client.create("/room-again", b"", OPEN).await.expect("there is room again");
    });
    Ok(())
}

fn a_disk_too_small_for_the_journal_is_never_served_from() -> Result<(), NotRun> {
    let disk = Mount::new("small-disk", "tmpfs", "size=4m")?;
    let mut server = Server::launch_on(&disk.0, "small", "preAllocSize=8192");
    let mut said = Vec::new();
    while server.child.try_wait().expect("a child can be asked").is_none() {
        // The kernel may take the connection; nobody must answer on it.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", server.port)) {
            let _ = stream.write_all(b"srvr");
            let _ = stream.read_to_end(&mut said);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (status, log) = (server.wait_for_end(Duration::ZERO), server.log());
    assert!(said.is_empty(), "a client was answered: {}", String::from_utf8_lossy(&said));
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the disk is full") && !log.contains("serving clients"), "{log}");
    Ok(())
}

fn a_file_system_without_direct_io_is_used_all_the_same() -> Result<(), NotRun> {
    // The kernel's ramfs refuses O_DIRECT in every version; tmpfs takes it since 6.6.
    let disk = Mount::new("no-direct-io", "ramfs", "mode=700")?;
    let mut server = Server::start_on(&disk.0, "no-direct-io", "preAllocSize=8192");
    let said = |log: &str| log.matches("refuses direct writes (O_DIRECT)").count();
    on_tokio(async {
        let client = server.client().await;
        for number in 0..200 {
            client.create(&format!("/full-{number}"), &value(number), OPEN).await.expect("a write is taken");
        }
        assert_eq!(said(&server.log()), 1, "once, not for every segment: {}", server.log());
        server.signal("KILL");
        server.child.wait().unwrap();
        server.launch();
        server.wait_until_listening();
        all_there(&server, &(0..200).collect::<Vec<_>>()).await;
    });
    assert_eq!(said(&server.log()), 2, "{}", server.log());
    Ok(())
}
