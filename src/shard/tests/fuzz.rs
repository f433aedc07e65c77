//! Random bytes, and random pieces of good requests: nobody but the sender is hurt.

use super::rig::*;
use crate::base::{Dice, limits};
use crate::codec::opcode::OpCode;

fn noise(dice: &mut Dice) -> Vec<u8> {
    let path = ["/", "/a", "", "/a/b", "x", "/\0"][dice.below(6) as usize];
    let mut bytes = match dice.below(8) {
        0 => (0..dice.below(200)).map(|_| dice.below(256) as u8).collect(),
        1 => get_data(dice.below(9) as i32, path, dice.below(2) == 0),
        2 => exists(1, path, true),
        3 => children(1, path, true),
        4 => auth(["digest", "ip", "bad"][dice.below(3) as usize], "a:b"),
        5 => raw_request(dice.below(5) as i32 - 2, dice.below(120) as i32 - 12, |w| w.string(path)),
        6 => request(1, OpCode::SetWatches2, |w| {
            w.i64(0);
            for _ in 0..5 {
                w.i32(1);
                w.string(path);
            }
        }),
        _ => ping(),
    };
    if dice.below(4) == 0 && !bytes.is_empty() {
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.below(8);
    }
    if dice.below(6) == 0 {
        bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

#[test]
fn noise_closes_only_its_own_connection_and_keeps_no_memory() {
    for seed in 1..60u64 {
        let mut dice = Dice(seed);
        let mut rig = Rig::new();
        let witness = rig.connect();
        let mut noisy = rig.connect();
        for step in 0..300 {
            let bytes = noise(&mut dice);
            rig.send(noisy, &bytes);
            rig.mail();
            if step % 5 == 0 {
                rig.commit(&create(&format!("/n{step}"), b"x"));
            }
            let kept = rig.shard.conns.get(noisy).map_or(0, |c| c.input.len() + c.output.len() + c.waiting_bytes);
            assert!(kept <= 2 * limits::CONN_OUTPUT_PAUSE_BYTES, "seed {seed} step {step}: {kept}");
            if rig.is_closed(noisy) {
                rig.shard.on_hangup(noisy, &mut rig.out);
                assert!(rig.out.close.iter().all(|close| close.conn == noisy));
                rig.out.close.clear();
                noisy = if dice.below(3) == 0 { rig.accept() } else { rig.connect() };
            } else if dice.below(10) == 0 {
                rig.output(noisy);
                rig.shard.on_flushed(noisy, rig.now, &mut rig.out);
            }
            rig.send(witness, &ping());
            assert_eq!(heads(&rig.output(witness)), [(-2, 0)], "seed {seed} step {step}");
        }
        rig.shard.on_hangup(noisy, &mut rig.out);
        assert!(rig.shard.watches.is_empty());
        assert_eq!((rig.shard.conns.live(), rig.shard.outstanding), (1, 0));
    }
}

#[test]
fn a_stream_means_the_same_however_it_is_cut() {
    let stream = [
        get_data(1, "/", false),
        exists(2, "/none", true),
        ping(),
        children(3, "/zookeeper", false),
        auth("digest", "a:b"),
        request(4, OpCode::WhoAmI, |_| {}),
    ]
    .concat();
    let mut whole = Rig::new();
    let conn = whole.connect();
    whole.send(conn, &stream);
    let expected = whole.output(conn);
    for seed in 1..30u64 {
        let mut dice = Dice(seed);
        let mut rig = Rig::new();
        let conn = rig.connect();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((1 + dice.below(30) as usize).min(rest.len()));
            rig.send(conn, piece);
            rest = tail;
        }
        assert_eq!(rig.output(conn), expected);
        assert_eq!(rig.shard.conns.get(conn).unwrap().input.capacity(), 0, "kept input is given back");
    }
}
