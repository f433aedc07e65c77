//! Preparing and cleaning up, and the measurements that are not load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::plan::{self, Plan};
use super::session::{self, Opened, Session};
use super::{BenchArgs, Workload, report, system, wire};

/// Creates the znodes that a workload needs below `root`.
pub fn prepare(args: &BenchArgs, root: &str, plan: &Plan) -> Result<(), String> {
    let mut session = Session::open(&session::resolve(args.server())?, 30_000)?;
    let data = plan::value(args.value_bytes);
    create_all(&mut session, 1, |_| root.to_string(), b"")?;
    if let Plan::Mix(mix) = plan {
        session.pipeline(
            mix.znodes.len() as u64,
            |number, xid, out| {
                let znode = &mix.znodes[number as usize];
                wire::create(out, xid, &znode.path, &znode.data);
            },
            |number, err, _| created(&mix.znodes[number as usize].path, err),
        )?;
        return session.close();
    }
    create_all(&mut session, args.keys as u64, |key| plan::key_path(root, key as usize), &data)?;
    if args.workload == Workload::List {
        let children = args.children as u64;
        let path =
            |number: u64| format!("{}/c{:05}", plan::key_path(root, (number / children) as usize), number % children);
        create_all(&mut session, args.keys as u64 * children, path, &data)?;
    }
    session.close()
}

/// Removes what a run has made, unless it is to be kept.
pub fn clean_up(args: &BenchArgs, root: &str) -> Result<(), String> {
    if args.keep {
        return Ok(());
    }
    let mut session = Session::open(&session::resolve(args.server())?, 30_000)?;
    let mut told = Instant::now();
    session
        .delete_tree(root, |removed| {
            if told.elapsed() >= Duration::from_secs(2) {
                told = Instant::now();
                args.progress(&format!("cleaning up: {removed} znodes removed"));
            }
        })
        .map_err(|e| format!("could not remove {root}: {e}"))?;
    session.close()
}

pub fn create_all(session: &mut Session, count: u64, path: impl Fn(u64) -> String, data: &[u8]) -> Result<(), String> {
    session.pipeline(
        count,
        |number, xid, out| wire::create(out, xid, &path(number), data),
        |number, err, _| created(&path(number), err),
    )
}

fn created(path: &str, err: i32) -> Result<(), String> {
    if err == 0 { Ok(()) } else { Err(format!("create {path}: {}", wire::error_name(err))) }
}

/// As many sessions as `--connections` asks for, telling how far it is.
pub fn open_sessions(args: &BenchArgs, servers: &[SocketAddr]) -> Result<Vec<Opened>, String> {
    let mut told = Instant::now();
    session::open_many(servers, args.connections(), 60_000, |count| {
        if told.elapsed() >= Duration::from_secs(2) {
            told = Instant::now();
            args.progress(&format!("{count} of {} sessions open", args.connections()));
        }
    })
}

pub fn needs_pids(args: &BenchArgs) -> Result<&[u32], String> {
    if args.server_pid.is_empty() { Err("this measurement needs --server-pid".into()) } else { Ok(&args.server_pid) }
}

/// How much the server grows by `--connections` idle sessions.
pub fn idle_sessions(args: &BenchArgs) -> Result<(), String> {
    let pids = needs_pids(args)?;
    let servers = session::resolve(args.server())?;
    Session::open(&servers, 30_000)?.close()?;
    let before = settled_memory(pids)?;
    let start = Instant::now();
    let sessions = open_sessions(args, &servers)?;
    let took = start.elapsed();
    let after = settled_memory(pids)?;
    let open = sessions.len() as f64;
    drop(sessions);
    report::print_measure(
        args,
        json!({
            "measure": "idle-sessions",
            "sessions": open,
            "seconds_to_open": took.as_secs_f64(),
            "server_rss_before": before,
            "server_rss_after": after,
            "bytes_per_session": (after as f64 - before as f64) / open,
        }),
    );
    Ok(())
}

/// Resident memory once it no longer changes by more than a thousandth in half a second (at most 10 s).
pub fn settled_memory(pids: &[u32]) -> Result<u64, String> {
    let mut last = system::resident_bytes(pids)?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = system::resident_bytes(pids)?;
        if now.abs_diff(last) * 1000 < now {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// Creates `--count` znodes as /root/xxx/yyy, a thousand below each parent, and reports memory.
pub fn load_znodes(args: &BenchArgs) -> Result<(), String> {
    const FAN_OUT: u64 = 1000;
    let servers = session::resolve(args.server())?;
    let before = needs_pids(args).ok().map(settled_memory).transpose()?;
    let root = args.root();
    let data = plan::value(args.value_bytes);
    let mut session = Session::open(&servers, 30_000)?;
    let parents = args.count.div_ceil(FAN_OUT);
    let start = Instant::now();
    let mut told = start;
    create_all(&mut session, 1, |_| root.clone(), b"")?;
    create_all(&mut session, parents, |parent| format!("{root}/{parent:03}"), b"")?;
    let path = |number: u64| format!("{root}/{:03}/{:03}", number / FAN_OUT, number % FAN_OUT);
    session.pipeline(
        args.count,
        |number, xid, out| wire::create(out, xid, &path(number), &data),
        |number, err, _| {
            if number % 1024 == 0 && told.elapsed() >= Duration::from_secs(2) {
                told = Instant::now();
                let rate = number as f64 / start.elapsed().as_secs_f64();
                args.progress(&format!("{number} of {} znodes created, {rate:.0}/s", args.count));
            }
            created(&path(number), err)
        },
    )?;
    let took = start.elapsed().as_secs_f64();
    session.close()?;
    let after = needs_pids(args).ok().map(settled_memory).transpose()?;
    let mut result = json!({
        "measure": "load-znodes",
        "znodes": args.count,
        "value_bytes": args.value_bytes,
        "seconds": took,
        "creates_per_s": args.count as f64 / took,
        "root": root,
    });
    if let Some((before, after)) = before.zip(after) {
        result["server_rss_before"] = before.into();
        result["server_rss_after"] = after.into();
        result["bytes_per_znode"] = ((after as f64 - before as f64) / args.count as f64).into();
    }
    clean_up(args, &root)?;
    report::print_measure(args, result);
    Ok(())
}

/// How long until the server serves: a session opened, a read answered.
pub fn first_read(args: &BenchArgs) -> Result<(), String> {
    let server = session::resolve(args.server())?[0];
    let took = session::wait_until_served(server, Duration::from_secs(300))?;
    report::print_measure(args, json!({ "measure": "first-read", "ms": took.as_secs_f64() * 1e3 }));
    Ok(())
}
