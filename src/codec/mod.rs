//! Bytes to values and back, with no memory of the past: jute primitives, frames, requests, replies, events,
//! transactions, and what the members of an ensemble say to each other. Only memory itself is kept from one to the next
//! (`chunks.rs`, `peer_stream.rs`).
//!
//! Wire input is judged, never asserted: every decoder returns [`Malformed`] and cannot panic.
//! Does not know: what a request means, or whether anybody may make it.

mod chunks;
pub mod frame;
pub mod jute;
pub mod opcode;
pub mod partial;
pub mod peer;
pub mod peer_stream;
pub mod reply;
pub mod request;
pub mod txn;
pub mod vote;

pub use chunks::Chunks;
pub use jute::{Malformed, Reader, Writer};

/// Bytes from their hexadecimal digits; spaces and line ends are for the eye.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
