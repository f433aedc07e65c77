//! One-shot measurements of watches: how soon many watchers of one znode are told, what many watches weigh.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use super::measure::{create_all, needs_pids, open_sessions, settled_memory};
use super::session::{self, Session};
use super::{BenchArgs, plan, report, wire};

/// Time from sending a setData until the last of `--connections` watchers has its event; the median of
/// `--rounds` rounds. Each round's watches are set anew and acknowledged before the clock starts.
pub fn watchers(args: &BenchArgs) -> Result<(), String> {
    let servers = session::resolve(args.server())?;
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
            "watchers": args.connections(),
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
    servers: &[SocketAddr],
    root: &str,
    writer: &mut Session,
) -> Result<Vec<f64>, String> {
    let mut poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;
    let mut events = Events::with_capacity(1024);
    let mut watchers = Vec::with_capacity(args.connections());
    for (number, opened) in open_sessions(args, servers)?.into_iter().enumerate() {
        opened.stream.set_nonblocking(true).map_err(|e| e.to_string())?;
        let mut stream = mio::net::TcpStream::from_std(opened.stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE).map_err(|e| e.to_string())?;
        watchers.push(Watcher { stream, bytes: Vec::new() });
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
                // Opening many sessions takes a while, and pings kept the first of them alive.
                if wire::int_at(frame, 0) == wire::XID_PING {
                    watcher.bytes.drain(..used);
                    continue;
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

/// How much the server grows by `--count` data watches: all sessions watch all of the same znodes.
pub fn watches(args: &BenchArgs) -> Result<(), String> {
    let pids = needs_pids(args)?;
    let servers = session::resolve(args.server())?;
    let root = args.root();
    let mut writer = Session::open(&servers, 30_000)?;
    let result = set_watches(args, pids, &servers, &root, &mut writer);
    writer.delete_tree(&root, |_| {})?;
    writer.close()?;
    report::print_measure(args, result?);
    Ok(())
}

fn set_watches(
    args: &BenchArgs,
    pids: &[u32],
    servers: &[SocketAddr],
    root: &str,
    writer: &mut Session,
) -> Result<Value, String> {
    let znodes = args.count.div_ceil(args.connections() as u64);
    create_all(writer, 1, |_| root.to_string(), b"")?;
    create_all(writer, znodes, |number| plan::key_path(root, number as usize), &plan::value(args.value_bytes))?;
    let mut sessions: Vec<Session> = open_sessions(args, servers)?.into_iter().map(Session::over).collect();
    let before = settled_memory(pids)?;
    let start = Instant::now();
    for session in &mut sessions {
        session.pipeline(
            znodes,
            |number, xid, out| {
                wire::read(out, xid, wire::op::EXISTS, &plan::key_path(root, number as usize), true);
            },
            |_, err, _| if err == 0 { Ok(()) } else { Err(format!("exists: {}", wire::error_name(err))) },
        )?;
    }
    let took = start.elapsed();
    let after = settled_memory(pids)?;
    let watches = znodes * args.connections() as u64;
    Ok(json!({
        "measure": "watches",
        "watches": watches,
        "sessions": args.connections(),
        "znodes": znodes,
        "seconds_to_set": took.as_secs_f64(),
        "server_rss_before": before,
        "server_rss_after": after,
        "bytes_per_watch": (after as f64 - before as f64) / watches as f64,
    }))
}
