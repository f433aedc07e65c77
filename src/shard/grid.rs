//! Every phase of a connection against everything that can happen to it, printed and compared.
//!
//! `=` nothing changes, `.` ignored (the connection is as good as gone), `x` the connection ends, `!` cannot
//! happen unless the replica is wrong.

use super::conn::Phase;
use super::tests::rig::*;
use crate::admin::Survey;
use crate::base::{ConnId, SessionId};
use crate::mail::{AnswerKind, ReplicaReport, Service, SurveyKind, ToShard};

const GRID: &str = "            word        handshake   request     reply       granted     refused     hangup      report      service     peer_gone
Greeting    Asking      Connecting  x           !           !           !           x           =           =           Gone
Connecting  =           =           =           !           Live        x           x           =           x           Gone
Live        x           x           =           !           !           !           x           =           x           Gone
Asking      =           =           =           !           !           !           x           x           =           Gone
Closing     .           .           .           .           .           .           .           .           .           Gone
";

const PHASES: [&str; 5] = ["Greeting", "Connecting", "Live", "Asking", "Closing"];
const EVENTS: [&str; 10] =
    ["word", "handshake", "request", "reply", "granted", "refused", "hangup", "report", "service", "peer_gone"];

#[test]
fn the_grid_is_as_printed() {
    let line = |name: &str, cells: [String; 10]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:12}")).collect();
        format!("{name:12}{cells}").trim_end().to_owned() + "\n"
    };
    let mut printed = line("", EVENTS.map(str::to_owned));
    for phase in PHASES {
        printed += &line(phase, EVENTS.map(|event| outcome(phase, event)));
    }
    assert_eq!(printed, GRID, "\n{printed}");
}

/// A connection in that phase.
fn reach(phase: &str) -> (Rig, ConnId) {
    let mut rig = Rig::new();
    let conn = if matches!(phase, "Live" | "Closing") { rig.connect() } else { rig.accept() };
    match phase {
        "Connecting" => rig.send(conn, &handshake(SessionId::NONE, &[0; 16], 10_000)),
        "Asking" => rig.send(conn, b"srvr"),
        // With output left: without, nothing of it would be left.
        "Closing" => rig.send(conn, &raw_request(1, 99, |_| {})),
        _ => {}
    }
    assert_eq!(name(&rig, conn), phase);
    (rig, conn)
}

fn outcome(phase: &str, event: &str) -> String {
    let (mut rig, conn) = reach(phase);
    // A fault of the replica is a panic, and the only way one shows.
    let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| happen(&mut rig, conn, event)));
    let after = name(&rig, conn);
    match (happened, after) {
        (Err(_), _) => "!",
        (Ok(()), "Gone") if event == "peer_gone" => "Gone",
        (Ok(()), after) if after == phase => {
            if phase == "Closing" {
                "."
            } else {
                "="
            }
        }
        (Ok(()), "Closing" | "Gone") => "x",
        (Ok(()), after) => after,
    }
    .to_owned()
}

fn happen(rig: &mut Rig, conn: ConnId, event: &str) {
    let session = SessionId(0x0100_0000_0000_0009);
    match event {
        "word" => rig.send(conn, b"srvr"),
        "handshake" => rig.send(conn, &handshake(SessionId::NONE, &[0; 16], 10_000)),
        "request" => rig.send(conn, &ping()),
        "reply" => rig.answer(conn, ok(1)),
        "granted" => rig.answer(conn, AnswerKind::Granted { session, timeout_ms: 10_000 }),
        "refused" => rig.answer(conn, AnswerKind::Refused),
        "hangup" => rig.answer(conn, AnswerKind::Hangup),
        "report" => {
            let asker = crate::base::Origin { shard: SHARD, conn };
            let host = SurveyKind::Host;
            let gathered = Survey::new(1).on_ask(asker, host, &mut Vec::new()).expect("needs no shard");
            let (_, mail): (_, ToShard) = gathered.into_mail(ReplicaReport::default());
            rig.shard.on_mail(mail, rig.now, &mut rig.out);
        }
        "service" => rig.serve(Service::Nobody),
        _ => rig.shard.on_hangup(conn, &mut rig.out),
    }
}

/// The name a phase has in the grid.
fn name(rig: &Rig, conn: ConnId) -> &'static str {
    match rig.shard.conns.get(conn).map(|c| c.phase) {
        None => "Gone",
        Some(Phase::Greeting) => "Greeting",
        Some(Phase::Connecting { .. }) => "Connecting",
        Some(Phase::Live) => "Live",
        Some(Phase::Asking(_)) => "Asking",
        Some(Phase::Closing) => "Closing",
    }
}
