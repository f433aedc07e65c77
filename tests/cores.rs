//! Black box: more executors than CPUs, and clients of very different appetite on one of them.

mod support;
#[path = "support/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use ringkeeper::codec::opcode::OpCode;
use support::{OPEN, Server};
use zookeeper_client as zk;

const CLIENTS: usize = 24;
const ROUNDS: u32 = 60;

/// Eight shards take turns on however few CPUs there are. Every client reads what it has written and never the past, and every
/// watcher on every shard hears of every change, in order.
#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_keep_their_promises_on_few_cpus() {
    let server = Server::start("eight-shards", "ringkeeper.shards=8\nringkeeper.pin=false\nmaxClientCnxns=0");
    let writer = server.client().await;
    writer.create("/shared", b"0", OPEN).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = server.client().await;
        // Two for each shard hear what the others only read.
        let watcher = match number % 3 {
            0 => None,
            _ => Some(client.watch("/shared", zk::AddWatchMode::Persistent).await.unwrap()),
        };
        clients.push(tokio::spawn(live(client, format!("/own-{number}"), watcher)));
    }
    for round in 1..=ROUNDS {
        writer.set_data("/shared", round.to_string().as_bytes(), None).await.unwrap();
    }
    for client in clients {
        tokio::time::timeout(Duration::from_secs(60), client).await.expect("in time").unwrap();
    }
}

async fn live(client: zk::Client, own: String, watcher: Option<zk::PersistentWatcher>) {
    client.create(&own, b"", OPEN).await.unwrap();
    let mut shared = 0;
    for round in 1..=ROUNDS {
        let written = round.to_string();
        let stat = client.set_data(&own, written.as_bytes(), None).await.unwrap();
        assert_eq!(client.get_data(&own).await.unwrap(), (written.into_bytes(), stat));
        let (data, stat) = client.get_data("/shared").await.unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), stat.version.to_string());
        assert!(stat.version >= shared, "{own} saw version {} after {shared}", stat.version);
        shared = stat.version;
    }
    let Some(mut watcher) = watcher else { return };
    let mut last = 0;
    for _ in 0..ROUNDS {
        let event = watcher.changed().await;
        assert_eq!(event.event_type, zk::EventType::NodeDataChanged);
        assert!(event.zxid > last, "{own} heard of {} after {last}", event.zxid);
        last = event.zxid;
    }
}

/// A connection by hand: the crate's client would not send a thousand requests without waiting.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Raw {
        let mut raw = Raw(TcpStream::connect(server.address()).unwrap());
        raw.0.set_nodelay(true).unwrap();
        raw.send(&wire::handshake());
        raw.reply();
        raw
    }

    fn send(&mut self, frames: &[u8]) {
        self.0.write_all(frames).unwrap();
    }

    fn reply(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        body
    }
}

/// getData of a znode that every server has.
fn get_data(xid: i32) -> Vec<u8> {
    wire::read(xid, OpCode::GetData, "/zookeeper")
}

/// A crowd that comes and closes its sessions all at once: each is told so, then its connection ends in good order, and who stays is
/// served.
#[test]
fn a_crowd_that_leaves_together_is_shown_out_one_by_one() {
    const CROWD: usize = 300;
    let server = Server::start("crowd", "ringkeeper.shards=1\nmaxClientCnxns=0");
    let mut stays = Raw::connect(&server);
    let mut crowd: Vec<Raw> = (0..CROWD).map(|_| Raw::connect(&server)).collect();
    let close = wire::frame(|w| {
        w.i32(1);
        w.i32(OpCode::CloseSession.code());
    });
    crowd.iter_mut().for_each(|one| one.send(&close));
    stays.send(&get_data(7));
    assert_eq!(stays.reply()[..4], 7i32.to_be_bytes());
    for one in &mut crowd {
        let (reply, mut rest) = (one.reply(), Vec::new());
        assert_eq!((&reply[..4], &reply[12..16]), (&1i32.to_be_bytes()[..], &[0; 4][..]), "xid and error");
        assert_eq!(one.0.read_to_end(&mut rest).unwrap(), 0, "nothing follows");
    }
    stays.send(&get_data(8));
    assert_eq!(stays.reply()[..4], 8i32.to_be_bytes());
    let (mut word, mut told) = (TcpStream::connect(server.address()).unwrap(), String::new());
    word.write_all(b"srvr").unwrap();
    word.read_to_string(&mut told).unwrap();
    assert!(told.contains("\nConnections: 2\n"), "who stays and who asks, and nobody else: {told}");
}

/// What one connection has outstanding it waits for itself: another one's single request is answered among the first thousand
/// or so. Counted in replies, not in time.
#[test]
fn a_thousand_outstanding_requests_do_not_starve_a_single_one() {
    const OUTSTANDING: usize = 1000;
    let server = Server::start("fairness", "ringkeeper.shards=1");
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut greedy = Raw::connect(&server);
    let hungry = {
        let (answered, over) = (answered.clone(), over.clone());
        std::thread::spawn(move || {
            let hundred: Vec<u8> = (0..100).flat_map(get_data).collect();
            let reply_bytes = 4 + {
                greedy.send(&get_data(0));
                greedy.reply().len()
            };
            (0..OUTSTANDING / 100).for_each(|_| greedy.send(&hundred));
            let mut replies = vec![0; 100 * reply_bytes];
            while !over.load(SeqCst) {
                greedy.0.read_exact(&mut replies).unwrap();
                answered.fetch_add(100, SeqCst);
                greedy.send(&hundred);
            }
        })
    };
    let mut modest = Raw::connect(&server);
    while answered.load(SeqCst) < 10 * OUTSTANDING as u64 {
        std::thread::yield_now();
    }
    let mut overtaken: Vec<u64> = (1..=300)
        .map(|xid| {
            let before = answered.load(SeqCst);
            modest.send(&get_data(xid));
            assert_eq!(modest.reply()[..4], xid.to_be_bytes());
            answered.load(SeqCst) - before
        })
        .collect();
    over.store(true, SeqCst);
    hungry.join().unwrap();
    overtaken.sort_unstable();
    let median = overtaken[overtaken.len() / 2];
    println!("fairness: median {median}, worst {:?}", overtaken.last());
    assert!(median <= 3 * OUTSTANDING as u64, "{median} replies went to the other connection meanwhile: {overtaken:?}");
}
