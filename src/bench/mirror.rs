//! A server that answers constants: it parses frames, judges nothing, stores nothing.
//!
//! Two uses: `--measure generator` shows how fast the generator is when the server costs next to nothing,
//! and the tests let it misbehave to see that the generator notices.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::answers::Answers;
use super::{system, wire};

/// What the mirror is to do wrong; the number is the reply of each connection that it happens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "the faults are for the tests"))]
pub enum Fault {
    None,
    /// Answers NoNode.
    Error(i32),
    /// Answers with an xid that is not due.
    WrongXid(i32),
    /// Closes the connection.
    Close(i32),
    /// Does not answer this and the following requests for a while (milliseconds).
    Stall(i32, u64),
    /// Answers a multi with an error result under a good header.
    FailedMulti(i32),
}

/// A mirror on a thread of its own; it ends when this is dropped.
pub struct Mirror {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Mirror {
    /// Starts a mirror on a free port, pinned to `cpu`, whose znodes have `value_bytes` bytes of data.
    pub fn start(cpu: Option<usize>, value_bytes: usize, fault: Fault) -> Result<Mirror, String> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let answers = Answers::new(value_bytes);
        let thread = std::thread::spawn(move || {
            if let Some(Err(e)) = cpu.map(system::pin_to) {
                eprintln!("bench: {e}");
            }
            if let Err(e) = serve(listener, &stopped, &answers, fault) {
                eprintln!("bench: the built-in server failed: {e}");
            }
        });
        Ok(Mirror { address, stop, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Peer {
    stream: TcpStream,
    greeted: bool,
    bytes: Vec<u8>,
    out: Vec<u8>,
    answered: i32,
}

fn serve(mut listener: TcpListener, stop: &AtomicBool, answers: &Answers, fault: Fault) -> std::io::Result<()> {
    const LISTENER: Token = Token(usize::MAX - 1);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut inbuf = vec![0; 256 << 10];
    while !stop.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(peers.len()), both)?;
                    let peer = Peer { stream, greeted: false, bytes: Vec::new(), out: Vec::new(), answered: 0 };
                    peers.push(Some(peer));
                }
                continue;
            }
            let place = &mut peers[event.token().0];
            let keep = place.as_mut().is_some_and(|peer| peer.turn(&mut inbuf, answers, fault));
            if !keep {
                *place = None;
            }
        }
    }
    Ok(())
}

impl Peer {
    /// Answers all that has come; false if the connection is over.
    fn turn(&mut self, inbuf: &mut [u8], answers: &Answers, fault: Fault) -> bool {
        loop {
            let count = match self.stream.read(inbuf) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            };
            self.bytes.extend_from_slice(&inbuf[..count]);
            if !self.answer(answers, fault) {
                return false;
            }
            if count < inbuf.len() {
                break;
            }
        }
        match self.stream.write(&self.out) {
            Ok(count) if count == self.out.len() => self.out.clear(),
            Ok(count) => drop(self.out.drain(..count)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        true
    }

    fn answer(&mut self, answers: &Answers, fault: Fault) -> bool {
        let mut at = 0;
        while let Some(length) = self.bytes.get(at..at + 4).map(|b| wire::int_at(b, 0) as usize) {
            let Some(frame) = self.bytes.get(at + 4..at + 4 + length) else { break };
            at += 4 + length;
            if !self.greeted {
                self.greeted = true;
                self.out.extend_from_slice(answers.greeting());
                continue;
            }
            let (xid, op) = (wire::int_at(frame, 0), wire::int_at(frame, 4));
            self.answered += 1;
            let start = self.out.len();
            let failed = fault == Fault::FailedMulti(self.answered) && op == wire::op::MULTI;
            self.out.extend_from_slice(if failed { answers.to_failed_multi() } else { answers.to(op) });
            self.out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
            match fault {
                Fault::Error(n) if n == self.answered => {
                    self.out[start + 16..start + 20].copy_from_slice(&(-101i32).to_be_bytes());
                }
                Fault::WrongXid(n) if n == self.answered => self.out[start + 7] ^= 1,
                Fault::Close(n) if n == self.answered => return false,
                Fault::Stall(n, ms) if n == self.answered => std::thread::sleep(Duration::from_millis(ms)),
                _ => {}
            }
        }
        self.bytes.drain(..at);
        true
    }
}
