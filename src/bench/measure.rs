//! Preparing and cleaning up, and the measurements that are not load.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use super::{BenchArgs, Workload, plan, report, session, system, wire};
use session::Session;

/// Creates the znodes that a workload needs below `root`.
pub fn prepare(args: &BenchArgs, root: &str) -> Result<(), String> {
    let mut session = Session::open(&session::resolve(&args.server)?, 30_000)?;
    let data = plan::value(args.value_bytes);
    create_all(&mut session, 1, |_| root.to_string(), b"")?;
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
    let mut session = Session::open(&session::resolve(&args.server)?, 30_000)?;
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

fn create_all(session: &mut Session, count: u64, path: impl Fn(u64) -> String, data: &[u8]) -> Result<(), String> {
    session.pipeline(
        count,
        |number, xid, out| wire::create(out, xid, &path(number), data),
        |number, err, _| {
            if err == 0 { Ok(()) } else { Err(format!("create {}: {}", path(number), wire::error_name(err))) }
        },
    )
}

fn needs_pids(args: &BenchArgs) -> Result<&[u32], String> {
    if args.server_pid.is_empty() { Err("this measurement needs --server-pid".into()) } else { Ok(&args.server_pid) }
}

/// How much the server grows by `--connections` idle sessions.
pub fn idle_sessions(args: &BenchArgs) -> Result<(), String> {
    let pids = needs_pids(args)?;
    let servers = session::resolve(&args.server)?;
    Session::open(&servers, 30_000)?.close()?;
    let before = settled_memory(pids)?;
    let start = Instant::now();
    let mut told = start;
    let sessions = session::open_many(&servers, args.connections, 60_000, |count| {
        if told.elapsed() >= Duration::from_secs(2) {
            told = Instant::now();
            args.progress(&format!("{count} of {} sessions open", args.connections));
        }
    })?;
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
fn settled_memory(pids: &[u32]) -> Result<u64, String> {
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

/// Time from sending a setData until the last of `--connections` watchers has its event; the median of
/// `--rounds` rounds. Each round's watches are set anew and acknowledged before the clock starts.
pub fn watchers(args: &BenchArgs) -> Result<(), String> {
    let servers = session::resolve(&args.server)?;
    let root = args.root();
    let mut writer = Session::open(&servers, 30_000)?;
    create_all(&mut writer, 1, |_| root.clone(), &plan::value(args.value_bytes))?;
    let result = watch_rounds(args, &servers, &root, &mut writer);
    writer.delete_tree(&root, |_| {})?;
    writer.close()?;
    let mut micros = result?;
    micros.sort_by(f64::total_cmp);
    report::print_measure(
        args,
        json!({
            "measure": "watchers",
            "watchers": args.connections,
            "rounds": args.rounds,
            "median_us": micros[micros.len() / 2],
            "min_us": micros[0],
            "max_us": micros[micros.len() - 1],
        }),
    );
    Ok(())
}

fn watch_rounds(
    args: &BenchArgs,
    servers: &[std::net::SocketAddr],
    root: &str,
    writer: &mut Session,
) -> Result<Vec<f64>, String> {
    let mut poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;
    let mut events = Events::with_capacity(1024);
    let mut watchers = Vec::with_capacity(args.connections);
    for (number, opened) in session::open_many(servers, args.connections, 60_000, |_| {})?.into_iter().enumerate() {
        opened.stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        let mut stream = mio::net::TcpStream::from_std(opened.stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE).map_err(|e| e.to_string())?;
        watchers.push(Watcher { stream, bytes: Vec::with_capacity(1024) });
    }
    let mut expected_event = Vec::new();
    wire::FrameWriter::bare(&mut expected_event)
        .int(wire::XID_EVENT)
        .long(-1)
        .int(0)
        .int(wire::EVENT_DATA_CHANGED)
        .int(3)
        .buffer(root.as_bytes())
        .finish();
    let mut all = Vec::with_capacity(args.rounds);
    let mut told = Instant::now();
    for round in 0..args.rounds {
        let xid = round as i32 + 1;
        let mut watch = Vec::new();
        wire::read(&mut watch, xid, wire::op::GET_DATA, root, true);
        for watcher in &mut watchers {
            use std::io::Write;
            watcher.stream.write_all(&watch).map_err(|e| format!("lost a watcher: {e}"))?;
        }
        gather(&mut poll, &mut events, &mut watchers, |frame| {
            match (wire::int_at(frame, 0), wire::int_at(frame, 12)) {
                (got, 0) if got == xid => Ok(()),
                (got, err) => Err(format!("a watch was answered with xid {got}, {}", wire::error_name(err))),
            }
        })?;
        let data = plan::value(args.value_bytes);
        let start = Instant::now();
        let set = writer.send(|xid, out| wire::set_data(out, xid, root, &data))?;
        gather(&mut poll, &mut events, &mut watchers, |frame| {
            // The zxid of an event is not part of what a client relies on: 3.9 sends one, older ones -1.
            let expected = &expected_event[4..];
            let same = frame.len() == expected.len() && frame[..4] == expected[..4] && frame[12..] == expected[12..];
            if same { Ok(()) } else { Err("a watcher was told something else than the change".into()) }
        })?;
        all.push(start.elapsed().as_secs_f64() * 1e6);
        writer.finish(set)?;
        if told.elapsed() >= Duration::from_secs(2) {
            told = Instant::now();
            args.progress(&format!("round {} of {}", round + 1, args.rounds));
        }
    }
    Ok(all)
}

struct Watcher {
    stream: mio::net::TcpStream,
    bytes: Vec<u8>,
}

/// Waits until every watcher has received exactly one frame that `judge` accepts.
fn gather(
    poll: &mut Poll,
    events: &mut Events,
    watchers: &mut [Watcher],
    judge: impl Fn(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    use std::io::Read;
    let (mut missing, start) = (watchers.len(), Instant::now());
    let mut served = vec![false; watchers.len()];
    let mut inbuf = vec![0; 16 << 10];
    while missing > 0 {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("{missing} of {} watchers heard nothing for 30 s", watchers.len()));
        }
        match poll.poll(events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() != std::io::ErrorKind::Interrupted => return Err(format!("epoll: {e}")),
            _ => {}
        }
        for event in events.iter() {
            let number = event.token().0;
            let watcher = &mut watchers[number];
            loop {
                match watcher.stream.read(&mut inbuf) {
                    Ok(0) => return Err("the server closed a watcher's connection".into()),
                    Ok(count) => watcher.bytes.extend_from_slice(&inbuf[..count]),
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(format!("lost a watcher: {e}")),
                }
                // A short read has emptied the socket.
                break;
            }
            while let Some(frame) = session::frame_at(&watcher.bytes, 0)? {
                let used = 4 + frame.len();
                if frame.len() < wire::HEADER_BYTES {
                    return Err(format!("a reply of {} bytes", frame.len()));
                }
                judge(frame)?;
                if std::mem::replace(&mut served[number], true) {
                    return Err("a watcher was told twice".into());
                }
                missing -= 1;
                watcher.bytes.drain(..used);
            }
        }
    }
    Ok(())
}

/// Creates `--count` znodes as /root/xxx/yyy, a thousand below each parent, and reports memory.
pub fn load_znodes(args: &BenchArgs) -> Result<(), String> {
    const FAN_OUT: u64 = 1000;
    let servers = session::resolve(&args.server)?;
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
            if err == 0 { Ok(()) } else { Err(format!("create {}: {}", path(number), wire::error_name(err))) }
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
    let server = session::resolve(&args.server)?[0];
    let took = session::wait_until_served(server, Duration::from_secs(300))?;
    report::print_measure(args, json!({ "measure": "first-read", "ms": took.as_secs_f64() * 1e3 }));
    Ok(())
}
