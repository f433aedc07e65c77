//! Writes, from the bytes of a request to the bytes of its reply, by the machine that has them in hand.
//!
//! A turn of one write is what a lone client pays, a full turn what each of many pays: what a batch costs by itself is
//! then shared by all in it.

use super::meter::count as counted;
use super::rig::{CLIENTS, DATA, Rig, ZNODES, create, path, set_data};

/// How many writes a turn has, and how many such turns are counted.
const TURNS: [(usize, usize); 3] = [(1, 32), (16, 8), (CLIENTS, 2)];

/// One turn with a request by each of the first so many clients.
fn turn(rig: &mut Rig, what: &str, requests: &[Vec<u8>]) {
    let writes = requests.len();
    counted(&format!("{what}: request to mail"), writes, || {
        for (client, request) in requests.iter().enumerate() {
            rig.ask(rig.conns[client], request);
        }
    });
    assert_eq!(rig.shard_says.mail.len(), writes);
    counted(&format!("{what}: judged, applied, logged"), writes, || rig.order());
    counted(&format!("{what}: sealed, landed, committed"), writes, || rig.land());
    let (here, there) = rig.mail();
    let mut here = here.into_iter();
    counted(&format!("{what}: absorbed and answered"), writes, || {
        for mail in here.by_ref() {
            rig.shard.on_mail(mail, rig.now, &mut rig.shard_says);
        }
    });
    let mut bytes = 0;
    counted(&format!("{what}: reply taken"), writes, || bytes += rig.send());
    assert!(bytes >= writes * 20);
    let mut there = there.into_iter();
    counted(&format!("{what}: absorbed by another shard"), writes, || {
        for mail in there.by_ref() {
            rig.bystander.on_mail(mail, rig.now, &mut rig.shard_says);
        }
    });
    assert_eq!(rig.written(), None, "one batch is the whole turn");
}

/// Turns of each size, of requests that `make` makes from numbers that do not come again.
fn count_writes(rig: &mut Rig, name: &str, first: usize, make: impl Fn(usize) -> Vec<u8>) {
    let mut numbers = first..;
    for (writes, turns) in TURNS {
        for round in 0..=turns {
            let requests: Vec<_> = numbers.by_ref().take(writes).map(&make).collect();
            if round > 0 {
                turn(rig, &format!("{name}, {writes} in a turn"), &requests);
                continue;
            }
            // Buffers grow to their size.
            requests.iter().enumerate().for_each(|(client, request)| rig.ask(rig.conns[client], request));
            rig.carry_out();
        }
    }
}

pub fn count() {
    let mut rig = Rig::new();
    count_writes(&mut rig, "setData", 0, |number| set_data(3, &path(number * 5 % ZNODES), &DATA));
    count_writes(&mut rig, "create", ZNODES, |number| create(3, &path(number), &DATA));
}
