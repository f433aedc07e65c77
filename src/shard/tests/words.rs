//! Four-letter words, with a survey gathered by hand.

use super::rig::*;
use crate::admin::{Survey, Whitelist};
use crate::base::ConnId;
use crate::mail::{HostFacts, ReplicaReport, ToReplica, ToShard};

/// Asks a word and plays the replica's part of the survey.
fn ask(rig: &mut Rig, word: &[u8]) -> String {
    let mut survey = Survey::new(1);
    survey.set_host(HostFacts {
        version: "3.9.5-ringkeeper-0.1.0-0, built on 2026-01-01".into(),
        configuration: vec![("clientPort".into(), "2181".into()), ("dataDir".into(), "/d".into())],
        environment: vec![("host.name".into(), String::new())],
        data_dir_size_bytes: 7,
        log_dir_size_bytes: 9,
        ..HostFacts::default()
    });
    let conn = rig.accept();
    rig.send(conn, word);
    play(rig, &mut survey);
    let text = String::from_utf8(rig.output(conn)).unwrap();
    assert!(rig.is_closed(conn));
    rig.shard.on_hangup(conn, &mut rig.out);
    rig.mail();
    text
}

fn play(rig: &mut Rig, survey: &mut Survey) {
    for mail in rig.mail() {
        let mut questions = Vec::new();
        let gathered = match mail {
            ToReplica::Survey { origin, kind } => survey.on_ask(origin, kind, &mut questions),
            ToReplica::Surveyed { ticket, shard, report } => survey.on_surveyed(ticket, shard, *report),
            _ => None,
        };
        let replica = ReplicaReport {
            host: survey.host().clone(),
            server_state: "standalone",
            last_zxid: rig.zxid,
            trace_mask: survey.trace_mask(),
            ..ReplicaReport::default()
        };
        questions.extend(gathered.map(|gathered| gathered.into_mail(replica)));
        for (_, mail) in questions {
            let is_question = matches!(mail, ToShard::Survey { .. });
            rig.shard.on_mail(mail, rig.now, &mut rig.out);
            if is_question {
                play(rig, survey);
            }
        }
    }
}

fn with_watch(rig: &mut Rig) -> ConnId {
    let conn = rig.connect();
    rig.send(conn, &[exists(1, "/w", true), children(2, "/", true)].concat());
    rig.output(conn);
    conn
}

#[test]
fn words_are_answered_exactly() {
    let mut rig = Rig::new();
    assert_eq!(ask(&mut rig, b"ruok"), "imok");
    assert_eq!(ask(&mut rig, b"isro"), "rw");
    assert_eq!(ask(&mut rig, b"gtmk"), "306");
    assert_eq!(ask(&mut rig, b"stmk\0\0\0\0\0\0\0\x07"), "7");
    assert_eq!(ask(&mut rig, b"dirs and more"), "datadir_size: 7\nlogdir_size: 9\n");
    assert_eq!(ask(&mut rig, b"conf"), "clientPort=2181\ndataDir=/d\ndataDirSize=7\n");
    assert_eq!(
        ask(&mut rig, b"envi"),
        "Environment:\nzookeeper.version=3.9.5-ringkeeper-0.1.0-0, built on 2026-01-01\nhost.name=<NA>\n"
    );
    assert_eq!(ask(&mut rig, b"crst"), "Connection stats reset.\n");
    with_watch(&mut rig);
    assert_eq!(ask(&mut rig, b"wchs"), "1 connections watching 1 paths\nTotal watches:1\n");
    assert_eq!(ask(&mut rig, b"wchc"), "0x100000000000001\n\t/w\n\n");
    assert_eq!(ask(&mut rig, b"wchp"), "/w\n\t0x100000000000001\n\n");
    assert_eq!(ask(&mut rig, b"srst"), "Server stats reset.\n");
    rig.commit(&create("/x", b""));
    assert_eq!(
        ask(&mut rig, b"srvr"),
        "Zookeeper version: 3.9.5-ringkeeper-0.1.0-0, built on 2026-01-01\nLatency min/avg/max: 0/0.0/0\n\
         Received: 1\nSent: 1\nConnections: 2\nOutstanding: 0\nZxid: 0x1\nMode: standalone\nNode count: 6\n"
    );
}

#[test]
fn connections_are_listed() {
    let mut rig = Rig::new();
    with_watch(&mut rig);
    assert_eq!(
        ask(&mut rig, b"cons"),
        " /127.0.0.1:4000[1](queued=0,recved=3,sent=3,sid=0x100000000000001,lop=GETC,est=1700000000000,to=10000,\
         lcxid=0x2,lzxid=0x0,lresp=1000000,llat=0,minlat=0,avglat=0,maxlat=0)\n \
         /127.0.0.1:4000[0](queued=0,recved=1,sent=0)\n\n"
    );
    let stat = ask(&mut rig, b"stat");
    assert!(stat.contains("Clients:\n /127.0.0.1:4000[1](queued=0,recved=3,sent=3)\n"), "{stat}");
    let dump = ask(&mut rig, b"dump");
    assert!(dump.contains("Connections Sets (1)/(2):\n2 expire at "), "{dump}");
    assert!(dump.contains("\tip: /127.0.0.1:4000 sessionId: 0x100000000000001\n"), "{dump}");
    let mntr = ask(&mut rig, b"mntr");
    assert!(mntr.contains("zk_watch_count\t2\n") && mntr.contains("zk_op_count_total\t2\n"), "{mntr}");
}

#[test]
fn words_must_be_whitelisted_and_come_first() {
    let mut rig = Rig::with(|settings| settings.words = Whitelist::parse(None, false));
    assert_eq!(ask(&mut rig, b"ruok"), "ruok is not executed because it is not in the whitelist.\n");
    assert!(ask(&mut rig, b"srvr").starts_with("Zookeeper version: "));
    let interrupt = [0xff, 0xf4, 0xff, 0xfd];
    assert_eq!(ask(&mut rig, &interrupt), "telnet close is not executed because it is not in the whitelist.\n");
    let mut open = Rig::new();
    let conn = open.accept();
    open.send(conn, &interrupt);
    assert!(open.is_closed(conn) && open.output(conn).is_empty());
    let live = open.connect();
    open.send(live, b"ruok");
    assert!(open.is_closed(live) && open.output(live).is_empty(), "after the handshake it is a length");
}
