//! Bytes to values and back, with no memory of the past: jute primitives, frames, requests, replies, events,
//! transactions.
//!
//! Wire input is judged, never asserted: every decoder returns [`Malformed`] and cannot panic.
//! Does not know: what a request means, or whether anybody may make it.

pub mod frame;
pub mod jute;
pub mod opcode;
pub mod reply;
pub mod request;
pub mod txn;

pub use jute::{Malformed, Reader, Writer};
