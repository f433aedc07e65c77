//! What a server answers: reply headers, the handshake's answer, watch events (parity X-02, H-04, X-13).

use super::Writer;
use super::frame::LENGTH_BYTES;
use crate::base::{ErrorCode, SessionId, Xid, Zxid};

/// Appends one framed reply: header, then `body` when there is no error.
///
/// The length word is written last, over a placeholder, so the body is encoded exactly once and in place.
pub fn reply(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, error: Option<ErrorCode>, body: impl FnOnce(&mut Writer<'_>)) {
    framed(out, |w| {
        header(w, xid, zxid, error);
        if error.is_none() {
            body(w);
        }
    });
}

/// A reply header: xid, zxid, err.
pub fn header(w: &mut Writer<'_>, xid: Xid, zxid: Zxid, error: Option<ErrorCode>) {
    let mut bytes = [0u8; 16];
    bytes[..4].copy_from_slice(&xid.0.to_be_bytes());
    bytes[4..12].copy_from_slice(&zxid.0.to_be_bytes());
    bytes[12..].copy_from_slice(&error.map_or(0, ErrorCode::code).to_be_bytes());
    w.0.extend_from_slice(&bytes);
}

/// Appends whatever `content` writes as one frame.
pub fn framed(out: &mut Vec<u8>, content: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    content(&mut Writer(out));
    let length = (out.len() - start - LENGTH_BYTES) as i32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The handshake's answer. A refused session is told by zeros everywhere (parity H-14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: [u8; 16],
    /// `None` for a client that did not send the byte either (parity H-04).
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    pub fn encode(&self, out: &mut Vec<u8>) {
        framed(out, |w| {
            w.i32(0);
            w.i32(self.timeout_ms);
            w.i64(self.session.0);
            w.buffer(Some(&self.password));
            if let Some(read_only) = self.read_only {
                w.bool(read_only);
            }
        });
    }
}

/// What a watch reports (parity WA-01).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum EventKind {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// Appends one framed notification; the state is always SyncConnected (parity ).
pub fn event(out: &mut Vec<u8>, zxid: Zxid, kind: EventKind, path: &str) {
    const SYNC_CONNECTED: i32 = 3;
    framed(out, |w| {
        header(w, Xid::NOTIFICATION, zxid, None);
        w.i32(kind as i32);
        w.i32(SYNC_CONNECTED);
        w.string(path);
    });
}

/// A multi reply's slot header (parity MU-07): the operation's number, or -1 with an error.
pub fn multi_header(w: &mut Writer<'_>, op: i32, error: i32) {
    w.i32(op);
    w.bool(false);
    w.i32(error);
}

/// The end of a multi reply.
pub fn multi_end(w: &mut Writer<'_>) {
    w.i32(-1);
    w.bool(true);
    w.i32(-1);
}
