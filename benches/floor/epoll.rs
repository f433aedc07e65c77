//! The engine on epoll: edge triggered, one receive and one send per client and turn.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ringkeeper::bench::answers::Answers;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::clients::{Clients, Id};
use super::commit::Commit;

const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
/// The peer sends no more.
const ENDS: epoll::EventFlags = epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
/// Events taken from the kernel with one call.
const EVENTS_MAX: usize = 1024;
/// What one receive takes at most; it is one buffer for all, so that it stays in the processor's cache.
const SCRATCH_BYTES: usize = 64 << 10;

/// Turns until something fails.
pub fn serve(listener: TcpListener, mut commit: Commit, answers: &Answers, spin: Duration) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), edge)?;
    // Every ring is an edge, so the bell itself need never be read.
    epoll::add(&epoll, commit.bell(), epoll::EventData::new_u64(BELL), edge)?;
    let mut clients: Clients<OwnedFd> = Clients::new();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut dirty = Vec::new();
    loop {
        wait(&epoll, &mut events, spin)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => accept(&listener, &epoll, &mut clients)?,
                BELL => commit.land(&mut clients, &mut dirty)?,
                token => {
                    let (id, flags) = (id(token), event.flags);
                    let ended = flags.intersects(ENDS);
                    if !receive(id, ended, &mut clients, &mut commit, answers, &mut scratch) {
                        clients.remove(id);
                    }
                    dirty.push(id);
                }
            }
        }
        // The disk first: it works while the replies to reads are being sent.
        commit.depart(&mut clients, &mut dirty)?;
        for id in dirty.drain(..) {
            flush(id, &mut clients);
        }
    }
}

fn token(id: Id) -> u64 {
    u64::from(id.slot) << 32 | u64::from(id.generation)
}

fn id(token: u64) -> Id {
    Id { slot: (token >> 32) as u32, generation: token as u32 }
}

/// Waits for events, awake for as long as `spin`.
fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, spin: Duration) -> io::Result<()> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut ask = |patience| match epoll::wait(epoll, spare_capacity(events), patience) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    };
    if !spin.is_zero() {
        let start = Instant::now();
        while start.elapsed() < spin {
            if ask(Some(&zero))? {
                return Ok(());
            }
        }
    }
    ask(None)?;
    Ok(())
}

fn accept(listener: &TcpListener, epoll: &OwnedFd, clients: &mut Clients<OwnedFd>) -> io::Result<()> {
    let all = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                // Descriptors are small numbers and used again: just what a slot is.
                let slot = stream.as_raw_fd() as u32;
                let id = clients.insert(slot, stream.into());
                let client = clients.get(id).expect("inserted above");
                epoll::add(epoll, &client.link, epoll::EventData::new_u64(token(id)), all)?;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes what has come; false if the client is gone.
fn receive(
    id: Id,
    ended: bool,
    clients: &mut Clients<OwnedFd>,
    commit: &mut Commit,
    answers: &Answers,
    scratch: &mut [u8],
) -> bool {
    let Some(client) = clients.get(id) else { return true };
    loop {
        match recv(&client.link, &mut scratch[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok((count, _)) => {
                if !commit.take(id, client, &scratch[..count], answers) {
                    return false;
                }
                // A short read has emptied the socket, but nothing announces an end that is in already.
                if count < scratch.len() && !ended {
                    return true;
                }
            }
            Err(Errno::AGAIN) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Sends what may go. What finds no room waits for the event that tells of some, and a broken connection for its end.
fn flush(id: Id, clients: &mut Clients<OwnedFd>) {
    let Some(client) = clients.get(id) else { return };
    while !client.sendable().is_empty() {
        match send(&client.link, client.sendable(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => client.note_sent(count),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
