//! One connection to another member, from the moment it stands: what waits to be sent, and what is left after a close.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Shutdown, TcpStream};

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use crate::base::Instant;

/// Bytes on their way out. Small ones are put together, because the kernel takes one piece sooner than a hundred; large
/// ones are never copied: a large proposal that goes to four members is in memory once.
#[derive(Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    /// Small ones behind the pieces.
    tail: BytesMut,
    cost: usize,
}

pub enum Sent {
    All,
    /// There is more, and there may be room for it.
    Some,
    /// The socket is full; the poller will tell when it no longer is.
    Full,
    Failed,
}

/// Pieces handed to the kernel with one call (IOV_MAX is 1024).
const PIECES_MAX: usize = 128;

/// From how many bytes on a piece is not copied.
const LARGE_BYTES: usize = 4096;

impl Output {
    pub fn push(&mut self, bytes: Bytes) {
        self.cost += bytes.len();
        if bytes.len() < LARGE_BYTES {
            return self.tail.extend_from_slice(&bytes);
        }
        self.end_tail();
        self.pieces.push_back(bytes);
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Bytes of memory that wait to be sent.
    pub fn cost(&self) -> usize {
        self.cost
    }

    pub fn clear(&mut self) {
        *self = Output::default();
    }

    /// Sends from the front with one system call.
    pub fn send(&mut self, stream: &TcpStream) -> Sent {
        self.end_tail();
        if self.pieces.is_empty() {
            return Sent::All;
        }
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut offered = 0;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            offered += piece.len();
            count += 1;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(stream, &slices[..count], &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => {
                self.advance(sent);
                match sent {
                    _ if self.pieces.is_empty() => Sent::All,
                    // The kernel took less than it was offered only because its buffer is full.
                    _ if sent < offered => Sent::Full,
                    _ => Sent::Some,
                }
            }
            Err(Errno::AGAIN) => Sent::Full,
            Err(Errno::INTR) => Sent::Some,
            Err(_) => Sent::Failed,
        }
    }

    fn advance(&mut self, mut sent: usize) {
        self.cost -= sent;
        while let Some(front) = self.pieces.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            self.pieces.pop_front();
        }
    }
}

/// A link that stands.
pub struct Conn {
    pub stream: TcpStream,
    /// Its number at the poller.
    pub serial: u32,
    /// Bytes, or the end, may be waiting in the socket.
    pub readable: bool,
    /// It is in the list of those to be read.
    pub queued: bool,
    /// It is in the list of those with something to send.
    pub dirty: bool,
    /// The peer has sent its last byte: read on until the end shows.
    pub ended: bool,
    /// The last send found no room.
    pub full: bool,
    /// Nothing can be sent any more; what the peer sent before is still worth reading.
    pub mute: bool,
}

impl Conn {
    /// Whatever may be there already is looked at first.
    pub fn new(stream: TcpStream, serial: u32) -> Conn {
        Conn { stream, serial, readable: true, queued: false, dirty: false, ended: false, full: false, mute: false }
    }
}

/// A link that was closed here, until the peer has all that was queued and closes too.
///
/// Closing at once, with bytes of the peer unread, would be a reset, which can overtake our own last bytes.
pub struct Lingering {
    pub stream: TcpStream,
    pub output: Output,
    pub since: Instant,
    /// Our direction is closed.
    pub shut: bool,
}

/// How much of what a peer sends after our close is thrown away at a time.
const DISCARDS_PER_LOOK: usize = 16;
const DISCARD_BYTES: usize = 16 << 10;

impl Lingering {
    /// Sends on, then waits for the end. Returns whether it is over.
    pub fn work(&mut self) -> bool {
        let mut scratch = [0; DISCARD_BYTES];
        while !self.shut {
            match self.output.send(&self.stream) {
                Sent::All => {
                    if self.stream.shutdown(Shutdown::Write).is_err() {
                        return true;
                    }
                    self.shut = true;
                }
                Sent::Some => {}
                Sent::Full => break,
                Sent::Failed => return true,
            }
        }
        for _ in 0..DISCARDS_PER_LOOK {
            match recv(&self.stream, &mut scratch[..], RecvFlags::DONTWAIT) {
                // A peer that has closed its own direction may still be reading ours.
                Ok((0, _)) => return self.shut,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
        false
    }
}
