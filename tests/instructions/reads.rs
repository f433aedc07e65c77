//! Reads, from the bytes of a request to the bytes of its reply.

use ringkeeper::codec::opcode::OpCode;

use super::meter;
use super::rig::{CLIENTS, Rig, ZNODES, path};
use super::wire;

/// As many as a busy client has under way.
const PIPELINED: usize = 16;

fn pings() -> Vec<Vec<u8>> {
    let ping = wire::frame(|w| {
        w.i32(-2);
        w.i32(OpCode::Ping.code());
    });
    vec![ping; ZNODES / 4]
}

fn requests(op: OpCode) -> Vec<Vec<u8>> {
    (0..ZNODES / 4).map(|number| wire::read(number as i32, op, &path(number * 4))).collect()
}

fn count_reads(rig: &mut Rig, name: &str, requests: &[Vec<u8>]) {
    let alone = |rig: &mut Rig| {
        for (number, request) in requests.iter().enumerate() {
            rig.ask(rig.conns[number % CLIENTS], request);
            assert!(rig.send() >= 20);
        }
    };
    // Buffers grow to their size.
    alone(rig);
    meter::count(&format!("{name}, one a turn"), requests.len(), || alone(rig));
    let together: Vec<Vec<u8>> = requests.chunks(PIPELINED).map(<[Vec<u8>]>::concat).collect();
    let pipelined = |rig: &mut Rig| {
        for (number, bytes) in together.iter().enumerate() {
            rig.ask(rig.conns[number % CLIENTS], bytes);
            assert!(rig.send() >= 20 * PIPELINED);
        }
    };
    pipelined(rig);
    meter::count(&format!("{name}, {PIPELINED} a turn"), requests.len(), || pipelined(rig));
}

pub fn count() {
    let mut rig = Rig::new();
    count_reads(&mut rig, "getData", &requests(OpCode::GetData));
    count_reads(&mut rig, "exists", &requests(OpCode::Exists));
    count_reads(&mut rig, "getChildren2 of a leaf", &requests(OpCode::GetChildren2));
    count_reads(&mut rig, "ping", &pings());
}
