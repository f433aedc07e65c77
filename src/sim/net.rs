//! The invented network: one byte stream each way per connection, cut into pieces, late, and sometimes gone.
//!
//! Order within a stream is TCP's; everything else is up to the dice.

use super::line::Line;
use super::rng::Rng;

/// Bytes a receiver's socket takes in before the sender has to wait.
pub const WINDOW_BYTES: usize = 16 * 1024;

/// A connection, both ends of it.
pub struct Link {
    /// `None`: nobody is expected to understand it (garbage, four-letter words).
    pub client: Option<usize>,
    pub line: Line,
    /// Arrived at the server, not read by the shard yet.
    pub inbox: Vec<u8>,
    /// The end of the client's stream arrived as well.
    pub inbox_ended: bool,
    /// Under way to the client or not read by it.
    pub unread: usize,
    /// Arrived at the client, not read by it yet.
    pub held: Vec<u8>,
    /// The shard still knows it.
    pub at_server: bool,
    pub at_client: bool,
    /// The shard asked for its end; what is in the output goes first unless aborted.
    pub closing: bool,
    /// From now on nothing arrives any more, in neither direction, and nobody is told.
    pub severed: bool,
    /// What a connection without a client got.
    pub collected: Vec<u8>,
    pub word: Option<&'static str>,
    arrives_at_server: u64,
    arrives_at_client: u64,
}

impl Link {
    pub fn new(client: Option<usize>, line: Line) -> Link {
        Link {
            client,
            line,
            inbox: Vec::new(),
            inbox_ended: false,
            unread: 0,
            held: Vec::new(),
            at_server: true,
            at_client: true,
            closing: false,
            severed: false,
            collected: Vec::new(),
            word: None,
            arrives_at_server: 0,
            arrives_at_client: 0,
        }
    }

    /// What the shard may send now of its output: it was judged, and the client's socket has room for it.
    pub fn take(&mut self, output: &mut Vec<u8>) -> Vec<u8> {
        let room = WINDOW_BYTES.saturating_sub(self.unread).min(self.line.judged).min(output.len());
        self.line.judged -= room;
        self.unread += room;
        output.drain(..room).collect()
    }

    /// When something sent now arrives, in microseconds.
    pub fn arrive_at_server(&mut self, now: u64, dice: &mut Rng, typical: u64) -> u64 {
        self.arrives_at_server = (now + dice.latency(typical)).max(self.arrives_at_server);
        self.arrives_at_server
    }

    pub fn arrive_at_client(&mut self, now: u64, dice: &mut Rng, typical: u64) -> u64 {
        self.arrives_at_client = (now + dice.latency(typical)).max(self.arrives_at_client);
        self.arrives_at_client
    }
}

/// Cuts a stream of bytes where nobody would: mostly not at all, at times to pieces.
pub fn pieces(bytes: &[u8], dice: &mut Rng) -> Vec<Vec<u8>> {
    if bytes.len() < 2 || dice.chance(800) {
        return vec![bytes.to_vec()];
    }
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() && pieces.len() < 5 {
        let (head, tail) = rest.split_at(dice.between(1, rest.len() as u64) as usize);
        pieces.push(head.to_vec());
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_vec());
    }
    pieces
}
