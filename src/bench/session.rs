//! A blocking session: prepares and removes the nodes a measurement needs, and opens sessions in bulk.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::wire;

/// How long a single answer may take before the server is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an attempt to reach a starting server may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
/// Requests on their way at a time while preparing; below Apache's globalOutstandingLimit of 1000.
const PIPELINE_REQUESTS: u64 = 800;
/// Request bytes on their way at a time, so that neither side can block the other by full buffers.
const PIPELINE_BYTES: usize = 128 << 10;
/// Handshakes on their way at a time; below the listen backlog of 50 that Apache has by default, beyond
/// which the kernel drops connection attempts and retries them a second later.
const HANDSHAKES: usize = 32;

/// Resolves `host:port[,host:port...]`.
pub fn resolve(servers: &str) -> Result<Vec<SocketAddr>, String> {
    servers
        .split(',')
        .map(|server| {
            server
                .to_socket_addrs()
                .map_err(|e| format!("--server `{server}`: {e} (expected host:port)"))?
                .next()
                .ok_or(format!("--server `{server}`: no address"))
        })
        .collect()
}

/// Connections from one loopback address, which has some 28,000 ports to connect from.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// A connection whose handshake is done.
pub struct Opened {
    pub stream: TcpStream,
    /// The session timeout the server granted, in milliseconds.
    pub timeout_ms: u32,
}

/// Opens `count` sessions, spread over `servers`, many handshakes at a time. Those that are open already are kept
/// alive meanwhile.
pub fn open_many(
    servers: &[SocketAddr],
    count: usize,
    timeout_ms: u32,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Opened>, String> {
    let mut all: Vec<Opened> = Vec::with_capacity(count);
    let mut pinged = Instant::now();
    while all.len() < count {
        all.extend(open_batch(servers, all.len(), HANDSHAKES.min(count - all.len()), timeout_ms)?);
        if pinged.elapsed() >= Duration::from_millis(u64::from(all[0].timeout_ms) / 4) {
            pinged = Instant::now();
            ping_all(&all)?;
        }
        progress(all.len());
    }
    Ok(all)
}

/// Opens `count` sessions at once. `first` is the number of the first among all of the run. Gives way to other threads after each.
pub fn open_batch(servers: &[SocketAddr], first: usize, count: usize, timeout_ms: u32) -> Result<Vec<Opened>, String> {
    let mut streams = Vec::with_capacity(count);
    for number in first..first + count {
        let server = servers[number % servers.len()];
        let stream =
            greet(server, number, timeout_ms, ANSWER_TIMEOUT).map_err(|e| format!("connection {}: {e}", number + 1))?;
        streams.push((server, stream));
        thread::yield_now();
    }
    let take = |(server, stream)| {
        thread::yield_now();
        take_greeting(server, stream)
    };
    streams.into_iter().map(take).collect()
}

fn ping_all(sessions: &[Opened]) -> Result<(), String> {
    let mut ping = Vec::new();
    wire::header_only(&mut ping, wire::XID_PING, wire::op::PING);
    for session in sessions {
        (&session.stream).write_all(&ping).map_err(|e| format!("lost a connection: {e}"))?;
    }
    Ok(())
}

/// Ends sessions that have asked nothing, all at once, as clients do. Gives way to other threads after each.
pub fn close_all(sessions: Vec<Opened>) -> Result<(), String> {
    let mut close = Vec::new();
    wire::header_only(&mut close, 1, wire::op::CLOSE_SESSION);
    for session in &sessions {
        (&session.stream).write_all(&close).map_err(|e| format!("lost a connection: {e}"))?;
        thread::yield_now();
    }
    for session in &sessions {
        thread::yield_now();
        read_frame(&session.stream).map_err(|e| format!("closeSession: {e}"))?;
    }
    Ok(())
}

fn open_one(server: SocketAddr, timeout_ms: u32, patience: Duration) -> Result<Opened, String> {
    take_greeting(server, greet(server, 0, timeout_ms, patience)?)
}

/// Connects and sends the handshake. `patience` holds for connecting and for every later answer; `number` is the
/// connection's among all of the run.
fn greet(server: SocketAddr, number: usize, timeout_ms: u32, patience: Duration) -> Result<TcpStream, String> {
    let stream = connect(server, number, patience).map_err(|e| format!("cannot connect to {server}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(patience)).map_err(|e| e.to_string())?;
    let mut request = Vec::new();
    wire::connect_request(&mut request, timeout_ms as i32);
    (&stream).write_all(&request).map_err(|e| format!("handshake with {server}: {e}"))?;
    Ok(stream)
}

/// Connects; to a server on this machine from 127.0.0.2 and so on where one address has not enough ports.
fn connect(server: SocketAddr, number: usize, patience: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    let source = number / CONNECTIONS_PER_SOURCE;
    if source > 0 && server.is_ipv4() && server.ip().is_loopback() {
        // Below a million connections this stays far from the end of the last byte.
        socket.bind(&SocketAddr::from(([127, 0, 0, 1 + source as u8], 0)).into())?;
    }
    socket.connect_timeout(&server.into(), patience)?;
    Ok(socket.into())
}

/// Takes the server's half of the handshake (ZK: ConnectResponse).
fn take_greeting(server: SocketAddr, stream: TcpStream) -> Result<Opened, String> {
    let answer = read_frame(&stream).map_err(|e| format!("handshake with {server}: {e}"))?;
    // A timeout of zero is how a server says no.
    if answer.len() < 16 || wire::int_at(&answer, 4) <= 0 {
        return Err(format!("{server} refused a session"));
    }
    let timeout_ms = wire::int_at(&answer, 4) as u32;
    Ok(Opened { stream, timeout_ms })
}

/// Reads exactly one frame, without its length.
fn read_frame(mut stream: &TcpStream) -> Result<Vec<u8>, String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|e| e.to_string())?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > wire::FRAME_BYTES_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).map_err(|e| e.to_string())?;
    Ok(frame)
}

/// A request whose answer has not been taken yet.
pub struct Sent {
    xid: i32,
}

/// A session for housekeeping.
pub struct Session {
    stream: TcpStream,
    xid: i32,
    inbuf: Vec<u8>,
}

impl Session {
    pub fn open(servers: &[SocketAddr], timeout_ms: u32) -> Result<Session, String> {
        open_one(servers[0], timeout_ms, ANSWER_TIMEOUT).map(Session::over)
    }

    /// Goes on with a connection whose handshake is done.
    pub fn over(opened: Opened) -> Session {
        Session { stream: opened.stream, xid: 0, inbuf: Vec::new() }
    }

    fn next_xid(&mut self) -> i32 {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        self.xid
    }

    /// Sends `count` requests in a pipeline. `encode` writes number n with the given xid, `judge` sees its
    /// error code and the body of its reply, in order.
    pub fn pipeline(
        &mut self,
        count: u64,
        mut encode: impl FnMut(u64, i32, &mut Vec<u8>),
        mut judge: impl FnMut(u64, i32, &[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let first = self.xid;
        let xid_of = |number: u64| (((first as u64) + number) % (i32::MAX as u64 - 1)) as i32 + 1;
        let (mut sent, mut done, mut out) = (0, 0, Vec::new());
        let mut bytes_each = 1;
        while done < count {
            out.clear();
            let window = PIPELINE_REQUESTS.min((PIPELINE_BYTES / bytes_each) as u64).max(1);
            while sent < count && sent - done < window && out.len() < PIPELINE_BYTES {
                let before = out.len();
                encode(sent, xid_of(sent), &mut out);
                bytes_each = out.len() - before;
                sent += 1;
            }
            (&self.stream).write_all(&out).map_err(|e| format!("lost the connection: {e}"))?;
            self.receive()?;
            let mut at = 0;
            while let Some(frame) = frame_at(&self.inbuf, at)? {
                at += 4 + frame.len();
                if frame.len() < wire::HEADER_BYTES {
                    return Err(format!("a reply of {} bytes", frame.len()));
                }
                let xid = wire::int_at(frame, 0);
                if xid == wire::XID_PING || xid == wire::XID_EVENT {
                    continue;
                }
                if done >= sent || xid != xid_of(done) {
                    return Err(format!("a reply out of order: xid {xid}"));
                }
                judge(done, wire::int_at(frame, 12), &frame[wire::HEADER_BYTES..])?;
                done += 1;
            }
            self.inbuf.drain(..at);
        }
        self.xid = xid_of(count) - 1;
        Ok(())
    }

    fn receive(&mut self) -> Result<(), String> {
        let have = self.inbuf.len();
        self.inbuf.resize(have + (256 << 10), 0);
        let got = (&self.stream).read(&mut self.inbuf[have..]).map_err(|e| format!("no answer: {e}"))?;
        self.inbuf.truncate(have + got);
        if got == 0 { Err("the server closed the connection".into()) } else { Ok(()) }
    }

    /// Sends one request and returns its error code and the body of its reply.
    pub fn call(&mut self, encode: impl Fn(i32, &mut Vec<u8>)) -> Result<(i32, Vec<u8>), String> {
        let mut answer = (0, Vec::new());
        self.pipeline(
            1,
            |_, xid, out| encode(xid, out),
            |_, err, body| {
                answer = (err, body.to_vec());
                Ok(())
            },
        )?;
        Ok(answer)
    }

    /// Sends one request and does not wait; `finish` takes its answer.
    pub fn send(&mut self, encode: impl Fn(i32, &mut Vec<u8>)) -> Result<Sent, String> {
        let xid = self.next_xid();
        let mut out = Vec::new();
        encode(xid, &mut out);
        (&self.stream).write_all(&out).map_err(|e| format!("lost the connection: {e}"))?;
        Ok(Sent { xid })
    }

    /// Takes the answer to a request sent alone.
    pub fn finish(&mut self, sent: Sent) -> Result<(), String> {
        let answer = read_frame(&self.stream).map_err(|e| format!("no answer: {e}"))?;
        match answer.len() {
            0..wire::HEADER_BYTES => Err(format!("a reply of {} bytes", answer.len())),
            _ if wire::int_at(&answer, 0) != sent.xid => Err("a reply out of order".into()),
            _ if wire::int_at(&answer, 12) != 0 => Err(wire::error_name(wire::int_at(&answer, 12)).into()),
            _ => Ok(()),
        }
    }

    /// The names of the children of `path`; none if it does not exist.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, String> {
        let (err, body) = self.call(|xid, out| wire::read(out, xid, wire::op::GET_CHILDREN, path, false))?;
        match err {
            0 => parse_strings(&body).ok_or(format!("getChildren {path}: a malformed list")),
            -101 => Ok(Vec::new()),
            _ => Err(format!("getChildren {path}: {}", wire::error_name(err))),
        }
    }

    /// Removes `root` and all below it. A node that is gone already is no error.
    pub fn delete_tree(&mut self, root: &str, mut progress: impl FnMut(u64)) -> Result<(), String> {
        let mut removed = 0;
        self.delete_below(root, &mut |count| {
            removed += count;
            progress(removed);
        })?;
        self.delete_all(1, |_| root.to_string()).map(drop)
    }

    /// Most nodes are leaves: all are tried, and only those that turn out to have children are looked into.
    fn delete_below(&mut self, parent: &str, progress: &mut impl FnMut(u64)) -> Result<(), String> {
        let names = self.children(parent)?;
        let parents = self.delete_all(names.len() as u64, |number| format!("{parent}/{}", names[number as usize]))?;
        progress((names.len() - parents.len()) as u64);
        for path in &parents {
            self.delete_below(path, progress)?;
        }
        self.delete_all(parents.len() as u64, |number| parents[number as usize].clone()).map(drop)
    }

    /// Removes nodes; returns those that have children.
    fn delete_all(&mut self, count: u64, path: impl Fn(u64) -> String) -> Result<Vec<String>, String> {
        let mut parents = Vec::new();
        self.pipeline(
            count,
            |number, xid, out| wire::delete(out, xid, &path(number)),
            |number, err, _| match err {
                0 | -101 => Ok(()),
                -111 => {
                    parents.push(path(number));
                    Ok(())
                }
                _ => Err(format!("delete {}: {}", path(number), wire::error_name(err))),
            },
        )?;
        Ok(parents)
    }

    /// Ends the session as a client does, so that the server need not wait for its timeout.
    pub fn close(mut self) -> Result<(), String> {
        let xid = self.next_xid();
        let mut out = Vec::new();
        wire::header_only(&mut out, xid, wire::op::CLOSE_SESSION);
        (&self.stream).write_all(&out).map_err(|e| e.to_string())?;
        read_frame(&self.stream).map(drop)
    }
}

/// The frame at `at` without its length, if it is complete.
pub fn frame_at(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, String> {
    if bytes.len() < at + 4 {
        return Ok(None);
    }
    let length = usize::try_from(wire::int_at(bytes, at)).unwrap_or(usize::MAX);
    if length > wire::FRAME_BYTES_MAX {
        return Err(format!("a frame with length {}", wire::int_at(bytes, at)));
    }
    Ok(bytes.get(at + 4..at + 4 + length))
}

/// A jute vector of strings.
fn parse_strings(body: &[u8]) -> Option<Vec<String>> {
    let count = usize::try_from(i32::from_be_bytes(body.get(..4)?.try_into().ok()?)).ok()?;
    let mut at = 4;
    let mut all = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(i32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?)).ok()?;
        all.push(String::from_utf8(body.get(at + 4..at + 4 + length)?.to_vec()).ok()?);
        at += 4 + length;
    }
    Some(all)
}

/// Tries until a session can be opened and the root node read, at most `patience`.
/// Returns how long it took from the call.
///
/// A server that is starting may take a connection and never answer on it (Apache does so while it loads
/// its data), so each attempt has little patience and the next one a new connection, as with real clients.
pub fn wait_until_served(server: SocketAddr, patience: Duration) -> Result<Duration, String> {
    let start = Instant::now();
    loop {
        let attempt = open_one(server, 10_000, ATTEMPT_TIMEOUT).and_then(|opened| {
            let mut session = Session::over(opened);
            let (err, _) = session.call(|xid, out| wire::read(out, xid, wire::op::GET_DATA, "/", false))?;
            let took = start.elapsed();
            session.close()?;
            if err == 0 { Ok(took) } else { Err(wire::error_name(err).to_string()) }
        });
        match attempt {
            Ok(took) => return Ok(took),
            Err(e) if start.elapsed() > patience => return Err(format!("{server} does not serve: {e}")),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_one_address_has_ports_come_from_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        for (number, expected) in
            [(0, "127.0.0.1"), (19_999, "127.0.0.1"), (20_000, "127.0.0.2"), (99_999, "127.0.0.5")]
        {
            let stream = connect(server, number, ANSWER_TIMEOUT).unwrap();
            assert_eq!(stream.local_addr().unwrap().ip().to_string(), expected, "connection {number}");
        }
    }
}
