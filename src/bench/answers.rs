//! Answers that are always the same: what a server without any state says to each request.
//!
//! The mirror gives them, and so does the floor that `benches/versus` measures beside the real servers.

use super::{plan, wire};

/// The constant answers, as whole frames with xid 0.
pub struct Answers {
    connect: Vec<u8>,
    header: Vec<u8>,
    path: Vec<u8>,
    data: Vec<u8>,
    stat: Vec<u8>,
    children: Vec<u8>,
    children2: Vec<u8>,
    multi: Vec<u8>,
    failed_multi: Vec<u8>,
}

impl Answers {
    /// Those of a server whose znodes all have `value_bytes` bytes of data.
    pub fn new(value_bytes: usize) -> Self {
        fn frame(fill: impl for<'a> FnOnce(wire::FrameWriter<'a>) -> wire::FrameWriter<'a>) -> Vec<u8> {
            let mut out = Vec::new();
            fill(wire::FrameWriter::bare(&mut out).int(0).long(1).int(0)).finish();
            out
        }
        fn stat(writer: wire::FrameWriter<'_>) -> wire::FrameWriter<'_> {
            (0..17).fold(writer, |writer, _| writer.int(0))
        }
        let value = plan::value(value_bytes);
        let mut connect = Vec::new();
        wire::FrameWriter::bare(&mut connect).int(0).int(30_000).long(1).buffer(&[0; 16]).flag(false).finish();
        Answers {
            connect,
            header: frame(|w| w),
            path: frame(|w| w.buffer(b"/a/path/as/long/as/most")),
            data: frame(|w| stat(w.buffer(&value))),
            stat: frame(stat),
            children: frame(|w| w.int(0)),
            children2: frame(|w| stat(w.int(0))),
            // Results of check and setData, then the end of the list.
            multi: frame(|w| {
                stat(w.int(wire::op::CHECK).flag(false).int(0).int(wire::op::SET_DATA).flag(false).int(0))
                    .int(-1)
                    .flag(true)
                    .int(-1)
            }),
            failed_multi: frame(|w| {
                w.int(-1).flag(false).int(-101).int(-101).int(-1).flag(false).int(-2).int(-2).int(-1).flag(true).int(-1)
            }),
        }
    }

    /// The server's half of the handshake.
    pub fn greeting(&self) -> &[u8] {
        &self.connect
    }

    /// The answer to a request of type `op`; its xid is the caller's to fill in.
    #[inline]
    pub fn to(&self, op: i32) -> &[u8] {
        match op {
            wire::op::GET_DATA => &self.data,
            wire::op::SET_DATA | wire::op::EXISTS => &self.stat,
            wire::op::CREATE => &self.path,
            wire::op::GET_CHILDREN => &self.children,
            wire::op::GET_CHILDREN2 => &self.children2,
            wire::op::MULTI | wire::op::MULTI_READ => &self.multi,
            _ => &self.header,
        }
    }

    /// The answer to a multi none of whose operations were done.
    pub fn to_failed_multi(&self) -> &[u8] {
        &self.failed_multi
    }
}
