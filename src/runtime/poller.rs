//! Which descriptors are ready: an epoll instance, and two ways to sleep on it: alone, or inside glommio's ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Readiness of the descriptors of one executor, edge triggered: told once, then again after more has arrived.
pub struct Poller {
    // Declared first: it must stop watching before the descriptor closes.
    sleeper: Sleeper,
    epoll: OwnedFd,
    /// What the last wait found and no poll has told yet; between polls kept for its capacity.
    events: Vec<epoll::Event>,
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub token: u64,
    /// Bytes, a connection, the end of the stream, or an error wait to be read.
    pub readable: bool,
    pub writable: bool,
    /// The peer will send no more.
    pub ended: bool,
    /// Both directions are gone: nothing can be answered.
    pub broken: bool,
}

/// Events taken from the kernel with one call.
const EVENTS_MAX: usize = 1024;

impl Poller {
    pub fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sleeper = Sleeper { epoll: epoll.as_raw_fd(), armed: None };
        Ok(Poller { sleeper, epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches `source` until it is closed. `token` comes back with its events.
    pub fn watch(&self, source: impl AsFd, token: u64, also_writes: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        if also_writes {
            // A socket reports room once at the start and then only after a send that found none: no noise.
            flags |= epoll::EventFlags::OUT;
        }
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), flags)?)
    }

    /// What became ready, without waiting. Returns whether that was all there is.
    pub fn poll(&mut self, out: &mut Vec<Ready>) -> io::Result<bool> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.ask(Some(&zero))?;
        let all = self.events.len() < self.events.capacity();
        self.tell_waited(out);
        Ok(all)
    }

    /// Blocks the thread until a watched descriptor is ready, and keeps what was.
    ///
    /// One system call, where sleeping inside the ring takes a dozen: for an executor that has no other task to run.
    pub fn wait(&mut self) -> io::Result<()> {
        self.ask(None)
    }

    /// Whether a wait found something that no poll has told.
    pub fn has_waited(&self) -> bool {
        !self.events.is_empty()
    }

    /// What the last wait found.
    pub fn tell_waited(&mut self, out: &mut Vec<Ready>) {
        out.extend(self.events.drain(..).map(ready));
    }

    fn ask(&mut self, patience: Option<&Timespec>) -> io::Result<()> {
        debug_assert!(self.events.is_empty(), "what a wait found is told before more is asked for");
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), patience) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ready once some watched descriptor is; may be ready without cause. Only within a glommio task.
    pub fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleeper.poll(cx)
    }
}

fn ready(event: epoll::Event) -> Ready {
    let flags = event.flags;
    let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
    let ended = broken || flags.contains(epoll::EventFlags::RDHUP);
    Ready {
        token: event.data.u64(),
        readable: ended || flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        ended,
        broken,
    }
}

/// Waits for the epoll descriptor with a POLL_ADD of glommio's ring.
///
/// glommio 0.9.0 offers no wait for readability of a descriptor, but its streams do exactly that first: a stream
/// arms POLL_ADD when it is made, and when that completes `poll_read` tries `recv`. On an epoll descriptor `recv`
/// answers ENOTSOCK and changes nothing, and that answer is our "ready".
struct Sleeper {
    epoll: RawFd,
    armed: Option<Armed>,
}

/// A stream over a descriptor that is not its own: it is forgotten, never dropped.
struct Armed(Option<TcpStream>);

impl Sleeper {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let epoll = self.epoll;
        let armed = self.armed.get_or_insert_with(|| Armed::new(epoll));
        let Some(stream) = armed.0.as_mut() else { return Poll::Ready(()) };
        match Pin::new(stream).poll_read(cx, &mut []) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.armed = None;
                Poll::Ready(())
            }
        }
    }
}

impl Armed {
    fn new(epoll: RawFd) -> Armed {
        // SAFETY: `from_raw_fd` requires an open descriptor whose ownership may be taken. It is open, because
        // `Poller` keeps its `OwnedFd` longer than its `Sleeper`; and ownership is given back, because `Drop`
        // below forgets the stream, whatever happens, so it never closes the descriptor. Nobody else can reach
        // the stream, and no method but `poll_read` is called on it, whose `recv` on an epoll descriptor fails.
        Armed(Some(unsafe { TcpStream::from_raw_fd(epoll) }))
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // After `poll_read` was ready the stream holds no heap but a weak count of the reactor, so forgetting it
        // leaks nothing. One that is still waiting leaks its request, once, when an executor ends.
        std::mem::forget(self.0.take());
    }
}
