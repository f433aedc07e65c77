//! One event, and a thousand who wait for it.

use ringkeeper::codec::opcode::OpCode;

use super::meter;
use super::rig::{DATA, Rig, path, set_data};
use super::wire;

const WATCHERS: usize = 1000;

pub fn count() {
    let mut rig = Rig::new();
    let watchers: Vec<_> = (0..WATCHERS).map(|_| rig.connect()).collect();
    let watch = wire::frame(|w| {
        w.i32(1);
        w.i32(OpCode::GetData.code());
        w.string(&path(0));
        w.bool(true);
    });
    // A second round, when buffers have their size.
    for round in 0..2 {
        for conn in &watchers {
            rig.ask(*conn, &watch);
        }
        rig.send();
        rig.ask(rig.conns[0], &set_data(2, &path(0), &DATA));
        rig.order();
        rig.land();
        let mut tell = || {
            let (here, _) = rig.mail();
            for mail in here {
                rig.shard.on_mail(mail, rig.now, &mut rig.shard_says);
            }
            assert!(rig.send() > WATCHERS * 20);
        };
        if round == 0 { tell() } else { meter::count("watch event, each of 1000 watchers", WATCHERS, tell) }
    }
}
