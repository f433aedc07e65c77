//! What clients send: frames, handshakes, and the record of every operation.

use super::Target;
use super::dice::{Dice, join, split};
use ringkeeper::base::{Acl, Id, SessionId};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply::framed;
use ringkeeper::codec::request::{ConnectRequest, Request, RequestHeader};
use ringkeeper::codec::{Reader, Writer, frame};

pub const FRAMES: Target = Target { name: "frames", make: make_frames, run: run_frames };
pub const REQUESTS: Target = Target { name: "requests", make: make_request, run: run_request };
pub const HANDSHAKES: Target = Target { name: "handshakes", make: make_handshake, run: run_handshake };

/// What clients may ask for.
pub const OPERATIONS: [OpCode; 28] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::Exists,
    OpCode::GetData,
    OpCode::SetData,
    OpCode::GetAcl,
    OpCode::SetAcl,
    OpCode::GetChildren,
    OpCode::GetChildren2,
    OpCode::Sync,
    OpCode::Ping,
    OpCode::Multi,
    OpCode::MultiRead,
    OpCode::Reconfig,
    OpCode::CheckWatches,
    OpCode::RemoveWatches,
    OpCode::Auth,
    OpCode::Sasl,
    OpCode::SetWatches,
    OpCode::SetWatches2,
    OpCode::GetEphemerals,
    OpCode::GetAllChildrenNumber,
    OpCode::AddWatch,
    OpCode::WhoAmI,
    OpCode::CloseSession,
];

pub fn acl(dice: &mut Dice) -> Vec<Acl> {
    const WHO: [(&str, &str); 7] = [
        ("world", "anyone"),
        ("auth", ""),
        ("digest", "u:AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("ip", "127.0.0.1"),
        ("ip", "10.0.0.0/8"),
        ("ip", "::1/200"),
        ("x509", "CN=a"),
    ];
    let count = if dice.one_in(4) { dice.below(5) } else { 1 };
    let entry = |dice: &mut Dice| {
        let (scheme, id) = if dice.one_in(2) { WHO[0] } else { dice.pick(&WHO) };
        Acl { perms: if dice.one_in(3) { dice.number() as i32 } else { 31 }, id: Id::new(scheme, id) }
    };
    (0..count).map(|_| entry(dice)).collect()
}

/// A well-formed record of `op`.
pub fn record(op: OpCode, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_record(op, dice, &mut Writer(&mut bytes));
    bytes
}

fn put_record(op: OpCode, dice: &mut Dice, w: &mut Writer<'_>) {
    let version = |dice: &mut Dice| if dice.one_in(2) { -1 } else { dice.number() as i32 };
    let data = |dice: &mut Dice| if dice.one_in(6) { None } else { Some(dice.bytes(60)) };
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            w.string(dice.path());
            w.buffer(data(dice).as_deref());
            w.acl(&acl(dice));
            w.i32(if dice.one_in(8) { dice.number() as i32 } else { dice.below(7) as i32 });
            if op == OpCode::CreateTtl {
                w.i64(if dice.one_in(2) { dice.number() } else { 1000 });
            }
        }
        OpCode::Delete | OpCode::Check => {
            w.string(dice.path());
            w.i32(version(dice));
        }
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            w.string(dice.path());
            w.bool(dice.one_in(2));
        }
        OpCode::SetData => {
            w.string(dice.path());
            w.buffer(data(dice).as_deref());
            w.i32(version(dice));
        }
        OpCode::SetAcl => {
            w.string(dice.path());
            w.acl(&acl(dice));
            w.i32(version(dice));
        }
        OpCode::GetAcl | OpCode::Sync | OpCode::GetAllChildrenNumber | OpCode::GetEphemerals => w.string(dice.path()),
        OpCode::Multi | OpCode::MultiRead => {
            const WRITES: [OpCode; 7] = [
                OpCode::Create,
                OpCode::Create2,
                OpCode::CreateContainer,
                OpCode::CreateTtl,
                OpCode::Delete,
                OpCode::SetData,
                OpCode::Check,
            ];
            const READS: [OpCode; 2] = [OpCode::GetData, OpCode::GetChildren];
            for _ in 0..dice.below(6) {
                let op = if op == OpCode::Multi { dice.pick(&WRITES) } else { dice.pick(&READS) };
                w.i32(op.code());
                w.bool(false);
                w.i32(-1);
                match op {
                    // Other flags than these spoil the frame.
                    OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                        w.string(dice.path());
                        w.buffer(data(dice).as_deref());
                        w.acl(&acl(dice));
                        w.i32(if op == OpCode::CreateTtl { 5 } else { dice.below(5) as i32 });
                        if op == OpCode::CreateTtl {
                            w.i64(dice.number());
                        }
                    }
                    _ => put_record(op, dice, w),
                }
            }
            w.i32(-1);
            w.bool(true);
            w.i32(-1);
        }
        OpCode::Reconfig => {
            for _ in 0..3 {
                w.buffer(data(dice).as_deref());
            }
            w.i64(dice.number());
        }
        OpCode::CheckWatches | OpCode::RemoveWatches | OpCode::AddWatch => {
            w.string(dice.path());
            w.i32(dice.below(7) as i32 - 1);
        }
        OpCode::Auth => {
            w.i32(0);
            w.string(dice.pick(&["digest", "digest", "digest", "ip", "sasl", ""]));
            w.buffer(Some(dice.pick(&[&b"u:p"[..], b"super:x", b"", b":", b"\xff\0"])));
        }
        OpCode::Sasl => w.buffer(data(dice).as_deref()),
        OpCode::SetWatches | OpCode::SetWatches2 => {
            w.i64(if dice.one_in(2) { 0 } else { dice.number() });
            for _ in 0..if op == OpCode::SetWatches { 3 } else { 5 } {
                let count = dice.below(4);
                w.i32(count as i32);
                for _ in 0..count {
                    w.string(dice.path());
                }
            }
        }
        OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession => {}
        OpCode::DeleteContainer | OpCode::CreateSession | OpCode::Error => unreachable!("not for clients"),
    }
}

/// A framed request of any operation, now and then of one there is not.
pub fn request(dice: &mut Dice) -> Vec<u8> {
    let op = dice.pick(&OPERATIONS);
    let op = if op == OpCode::CloseSession && !dice.one_in(4) { OpCode::Create } else { op };
    let body = record(op, dice);
    let code = if dice.one_in(40) { dice.number() as i32 } else { op.code() };
    let xid = match op {
        OpCode::Ping => -2,
        _ if dice.one_in(10) => dice.number() as i32,
        _ => dice.below(1000) as i32,
    };
    let mut bytes = Vec::new();
    framed(&mut bytes, |w| {
        w.i32(xid);
        w.i32(code);
        w.0.extend_from_slice(&body);
    });
    bytes
}

pub fn handshake(dice: &mut Dice) -> Vec<u8> {
    let is_plain = dice.one_in(2);
    let mut bytes = Vec::new();
    let w = &mut Writer(&mut bytes);
    w.i32(0);
    w.i64(if is_plain { 0 } else { dice.number() });
    w.i32(if is_plain { 10_000 } else { dice.number() as i32 });
    let session = if is_plain { 0 } else { dice.number() };
    w.i64(session);
    let password = ringkeeper::session::password(SessionId(session));
    w.buffer(Some(if dice.one_in(3) { &password } else { &[0; 16] }));
    if !dice.one_in(4) {
        w.bool(dice.one_in(2));
    }
    bytes
}

fn make_frames(dice: &mut Dice) -> Vec<u8> {
    let limit = [0usize, 4, 40, 60, 0xfffff][dice.below(5)];
    let mut stream = Vec::new();
    for _ in 0..dice.below(6) {
        let payload = dice.bytes(70);
        framed(&mut stream, |w| w.0.extend_from_slice(&payload));
    }
    if dice.one_in(2) {
        dice.mutate(&mut stream, 3);
    }
    join(&[(limit as u32).to_be_bytes().to_vec(), dice.bytes(40), stream])
}

/// Cutting what has arrived so far must come to the same frames as cutting all of it at once, and to those that
/// the length words tell of.
fn run_frames(input: &[u8]) {
    let parts = split(input);
    let [limit, chunks, stream] = parts[..] else { return };
    let limit = limit.first_chunk().map_or(0, |word| u32::from_be_bytes(*word)) as usize;
    let mut expected = Vec::new();
    let mut at = 0;
    let whole = loop {
        match frame::cut(&stream[at..], limit) {
            Ok(Some((payload, used))) => {
                let word = i32::from_be_bytes(*stream[at..].first_chunk().expect("a frame has a length word"));
                assert_eq!((payload.len(), used), (word as usize, 4 + word as usize));
                assert!(payload.len() <= limit && payload == &stream[at + 4..at + used]);
                expected.push(payload);
                at += used;
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if let Some(word) = stream[at..].first_chunk() {
        let word = i32::from_be_bytes(*word);
        assert_eq!(whole, usize::try_from(word).is_ok_and(|length| length <= limit), "length {word}, limit {limit}");
    }
    let (mut end, mut at, mut found) = (0, 0, Vec::new());
    let mut sizes = chunks.iter().map(|size| usize::from(*size % 13));
    while end < stream.len() {
        end = (end + sizes.next().unwrap_or(usize::MAX / 2)).min(stream.len());
        while let Ok(Some((payload, used))) = frame::cut(&stream[at..end], limit) {
            found.push(payload);
            at += used;
        }
    }
    assert_eq!(found, expected);
}

fn make_request(dice: &mut Dice) -> Vec<u8> {
    let op = dice.pick(&OPERATIONS);
    let good = record(op, dice);
    assert!(Request::decode(op, Reader::new(&good)).is_ok(), "{op:?} {good:02x?}");
    let mut bytes = good;
    dice.mutate(&mut bytes, 4);
    let op = if dice.one_in(20) { dice.pick(&OPERATIONS).code() } else { op.code() };
    [&op.to_be_bytes()[..], &bytes].concat()
}

fn run_request(input: &[u8]) {
    let mut reader = Reader::new(input);
    if let Ok(header) = RequestHeader::decode(&mut reader.clone()) {
        assert_eq!(header.xid.0.to_be_bytes(), input[..4]);
    }
    let Some(op) = reader.i32().ok().and_then(OpCode::from_i32) else { return };
    let free = Request::decode(op, reader.clone());
    // A limit on fields can only refuse more.
    let limited = Request::decode(op, Reader::with_limit(reader.rest(), 16));
    assert!(limited.is_err() || limited == free);
    // Bytes behind the record mean nothing.
    if free.is_ok() && op != OpCode::Multi && op != OpCode::MultiRead {
        let longer = [reader.rest(), b"more"].concat();
        assert_eq!(Request::decode(op, Reader::new(&longer)), free);
    }
}

fn make_handshake(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = handshake(dice);
    assert!(ConnectRequest::decode(&bytes).is_ok());
    dice.mutate(&mut bytes, 3);
    bytes
}

fn run_handshake(input: &[u8]) {
    if let Ok(request) = ConnectRequest::decode(input) {
        assert!(request.password.len() + 28 <= input.len());
        assert_eq!(request.last_zxid_seen.0.to_be_bytes(), input[4..12]);
        assert_eq!(request.session.0.to_be_bytes(), input[16..24]);
    }
}
