//! What a client says, as bytes, for tests that need a connection by hand.

use ringkeeper::codec::Writer;
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply::framed;

pub fn frame(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed(&mut bytes, body);
    bytes
}

/// Asks for a new session.
pub fn handshake() -> Vec<u8> {
    frame(|w| {
        w.i32(0); // protocol
        w.i64(0); // last zxid seen
        w.i32(10_000); // timeout
        w.i64(0); // session
        w.buffer(Some(&[0; 16])); // password
        w.bool(false); // read only
    })
}

/// A read of a path, without a watch.
pub fn read(xid: i32, op: OpCode, path: &str) -> Vec<u8> {
    frame(|w| {
        w.i32(xid);
        w.i32(op.code());
        w.string(path);
        w.bool(false);
    })
}
