//! Two members on loopback, each with a poller of its own, turned by hand.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;

use super::super::clock;
use super::super::machines::ReplicaMachine;
use super::super::wake::Wake;
use super::*;
use crate::base::limits;
use crate::base::{PeerAddress, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::mail::{HostFacts, ToReplica};
use crate::replica::{BootMedia, EpochFile, Reload, StretchNews};

/// What a machine was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Accepted(PeerPort),
    Connected,
    Drained,
    Closed,
    Epoch(EpochFile, i64),
}

/// Notes everything; sends back what it gets if told to.
#[derive(Default)]
pub struct Machine {
    pub told: Vec<(u64, Told)>,
    pub bytes: BTreeMap<u64, Vec<u8>>,
    pub echoes: bool,
    /// Closes a link when it says something.
    pub closes: bool,
}

impl ReplicaMachine for Machine {
    fn on_mail(&mut self, _: ToReplica, _: Now, _: &mut Effects) {}
    fn on_turn_end(&mut self, _: Now, _: &mut Effects) {}
    fn on_batch_landed(&mut self, _: BatchId, _: Now, _: &mut Effects) {}
    fn on_disk_failed(&mut self, what: &str, _: &mut Effects) {
        panic!("{what}");
    }
    fn on_segment_ready(&mut self, _: SegmentId, _: Now, _: &mut Effects) {}
    fn on_snapshot_ready(&mut self, _: &mut Effects) {}
    fn on_snapshot_written(&mut self, _: Zxid, _: Now) {}
    fn on_snapshot_failed(&mut self, _: Zxid, _: &str) {}
    fn on_tick(&mut self, _: Now, _: &mut Effects) {}
    fn on_host(&mut self, _: HostFacts) {}
    fn on_reload(&mut self, _: Reload, _: &dyn BootMedia, _: Now, _: &mut Effects) {}
    fn on_stretch(&mut self, _: StretchNews, _: Now, _: &mut Effects) {}
    fn may_serve(&self) -> bool {
        true
    }
    fn leads(&self) -> bool {
        false
    }
    fn on_peer(&mut self, news: PeerNews<'_>, _: Now, out: &mut Effects) {
        match news {
            PeerNews::Accepted { link, port, .. } => self.told.push((link.0, Told::Accepted(port))),
            PeerNews::Connected { link } => self.told.push((link.0, Told::Connected)),
            PeerNews::Drained { link } => self.told.push((link.0, Told::Drained)),
            PeerNews::Closed { link } => self.told.push((link.0, Told::Closed)),
            PeerNews::EpochWritten { file, epoch } => self.told.push((0, Told::Epoch(file, epoch))),
            PeerNews::OracleSays { .. } => panic!("there is no oracle"),
            PeerNews::Bytes { link, bytes } => {
                assert!(!bytes.is_empty());
                self.bytes.entry(link.0).or_default().extend(bytes);
                if self.echoes {
                    out.peer.push(PeerEffect::Send { link, bytes: Bytes::copy_from_slice(bytes) });
                }
                if self.closes {
                    out.peer.push(PeerEffect::Close { link });
                }
            }
        }
    }
}

struct Member {
    peers: Peers,
    poller: Poller,
    machine: Machine,
    out: Effects,
    election: SocketAddr,
}

fn names(host: &str) -> io::Result<Vec<IpAddr>> {
    match host {
        "member" => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        // Nobody listens on the first.
        "moved" => Ok(vec![Ipv4Addr::new(127, 0, 0, 77).into(), Ipv4Addr::LOCALHOST.into()]),
        "slow" => {
            std::thread::sleep(Duration::from_millis(600));
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        }
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
    }
}

impl Member {
    fn new() -> Member {
        let door = |port| PeerListen { port, host: Some("127.0.0.1".to_owned()), number: 0 };
        let doors = bind_all(&[door(PeerPort::Election), door(PeerPort::Quorum)], 1, || false).unwrap();
        let election = doors[0].1.local_addr().unwrap();
        let resolver = Resolver::with(Wake::new().unwrap(), names).unwrap();
        let mut peers = Peers::new(doors, resolver, Rc::default(), None, true);
        let poller = Poller::new().unwrap();
        peers.watch(&poller).unwrap();
        Member { peers, poller, machine: Machine::default(), out: Effects::default(), election }
    }

    fn wants(&mut self, effect: PeerEffect) {
        self.out.peer.push(effect);
    }

    fn dial(&mut self, link: u64, to: &[(&str, u16)], timeout_ms: u64) {
        let to = to.iter().map(|(host, port)| PeerAddress { host: (*host).to_owned(), port: *port }).collect();
        self.wants(PeerEffect::Dial { link: LinkId(link), to, timeout_ms });
    }

    fn turn(&mut self) {
        let now = clock::now();
        let mut events = Vec::new();
        self.poller.poll(&mut events).unwrap();
        for event in events {
            assert!(is_ours(event.token));
            self.peers.note(event);
        }
        self.peers.tick(&self.poller, now);
        self.peers.hear(&mut self.machine, &self.poller, now, &mut self.out);
        self.peers.carry_out(&mut self.out.peer, &self.poller, now);
        self.peers.settle();
    }

    fn has(&self, link: u64, told: Told) -> bool {
        self.machine.told.contains(&(link, told))
    }

    fn heard(&self, link: u64) -> usize {
        self.machine.bytes.get(&link).map_or(0, Vec::len)
    }
}

/// Turns all of them until it is so.
fn until(members: &mut [&mut Member], mut so: impl FnMut(&[&mut Member]) -> bool) {
    let deadline = Clock::now() + Duration::from_secs(20);
    loop {
        members.iter_mut().for_each(|member| member.turn());
        if so(members) {
            return;
        }
        assert!(Clock::now() < deadline, "{:?}", members.iter().map(|member| &member.machine.told).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn for_a_while(members: &mut [&mut Member]) {
    let end = Clock::now() + Duration::from_millis(120);
    until(members, |_| Clock::now() > end);
}

fn connected() -> (Member, Member) {
    let (mut a, mut b) = (Member::new(), Member::new());
    a.dial(2, &[("127.0.0.1", b.election.port())], 5_000);
    until(&mut [&mut a, &mut b], |both| {
        both[0].has(2, Told::Connected) && both[1].has(1, Told::Accepted(PeerPort::Election))
    });
    (a, b)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn bytes_arrive_whole_and_in_order_however_they_are_cut() {
    let (mut a, mut b) = connected();
    b.machine.echoes = true;
    let text = pattern(3_000_000);
    // Many small pieces, then great ones; more than one call can take.
    let mut rest = &text[..];
    for size in [1usize, 7, 20, 300].iter().cycle().take(1_000) {
        let (piece, left) = rest.split_at(*size);
        a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::copy_from_slice(piece) });
        rest = left;
    }
    for piece in rest.chunks(700_000) {
        a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::copy_from_slice(piece) });
    }
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::new() });
    until(&mut [&mut a, &mut b], |both| both[0].heard(2) >= text.len());
    assert_eq!(a.machine.bytes[&2], text);
    assert_eq!(a.machine.told, [(2, Told::Connected)]);

    a.wants(PeerEffect::Close { link: LinkId(2) });
    until(&mut [&mut a, &mut b], |both| both[1].has(1, Told::Closed));
    for_a_while(&mut [&mut a, &mut b]);
    assert_eq!(a.machine.told, [(2, Told::Connected)], "no news follows a close");
    assert_eq!(b.machine.told, [(1, Told::Accepted(PeerPort::Election)), (1, Told::Closed)]);
    for member in [&a, &b] {
        assert_eq!((member.peers.links.len(), member.peers.lingering.len(), member.peers.accepted), (0, 0, 0));
        assert_eq!(member.peers.owners.len(), 2, "only the listeners are watched");
    }
}

#[test]
fn what_was_queued_before_a_close_is_delivered() {
    let (mut a, mut b) = connected();
    let text = pattern(24 << 20);
    // The other talks all the while: unread, it would turn our close into a reset.
    b.wants(PeerEffect::Send { link: LinkId(1), bytes: Bytes::from(pattern(1 << 20)) });
    b.turn();
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from(text.clone()) });
    a.wants(PeerEffect::Close { link: LinkId(2) });
    a.turn();
    assert_eq!(a.peers.lingering.len(), 1, "so much does not fit a socket");
    until(&mut [&mut a, &mut b], |both| both[1].has(1, Told::Closed));
    assert!(b.machine.bytes[&1] == text);
    for_a_while(&mut [&mut a, &mut b]);
    assert_eq!(a.machine.told, [(2, Told::Connected)]);
    assert!(a.peers.lingering.is_empty() && a.peers.links.is_empty());
}

#[test]
fn a_peer_that_takes_nothing_does_not_keep_a_closed_link_for_ever() {
    let (mut a, b) = connected();
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from(pattern(24 << 20)) });
    a.wants(PeerEffect::Close { link: LinkId(2) });
    a.turn();
    assert_eq!(a.peers.lingering.len(), 1);
    let later = Now { mono: clock::now().mono.plus_ms(LINGER_MS), ..clock::now() };
    a.peers.tick(&a.poller, later);
    assert!(a.peers.lingering.is_empty() && a.peers.owners.len() == 2);
    drop(b);
}

#[test]
fn no_news_of_a_link_follows_its_close() {
    let (mut a, mut b) = connected();
    b.machine.closes = true;
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from(pattern(2_000_000)) });
    until(&mut [&mut a, &mut b], |both| both[0].has(2, Told::Closed));
    for_a_while(&mut [&mut a, &mut b]);
    assert!(b.heard(1) <= READ_BYTES, "one chunk, and then the close");
    assert_eq!(b.machine.told, [(1, Told::Accepted(PeerPort::Election))]);
}

#[test]
fn a_dial_that_is_refused_is_closed_once() {
    let mut a = Member::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    a.dial(2, &[("127.0.0.1", free)], 5_000);
    // What was queued for it goes with it.
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from_static(b"lost") });
    a.dial(4, &[], 5_000);
    until(&mut [&mut a], |one| one[0].machine.told.len() == 2);
    for_a_while(&mut [&mut a]);
    a.machine.told.sort_by_key(|(link, _)| *link);
    assert_eq!(a.machine.told, [(2, Told::Closed), (4, Told::Closed)]);
    assert_eq!((a.peers.links.len(), a.peers.owners.len()), (0, 2));
}

#[test]
fn the_first_address_that_answers_wins() {
    let (mut a, mut b) = (Member::new(), Member::new());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let good = b.election.port();
    a.dial(2, &[("127.0.0.1", free), ("nobody", 1), ("127.0.0.1", good)], 5_000);
    // Sent before it stands: it waits.
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from_static(b"hello") });
    until(&mut [&mut a, &mut b], |both| both[1].heard(1) == 5);
    // A name whose first address is dead.
    a.dial(4, &[("moved", good)], 5_000);
    until(&mut [&mut a, &mut b], |both| both[0].has(4, Told::Connected));
    // Both of these connect; one is kept.
    a.dial(6, &[("member", good), ("127.0.0.1", good)], 5_000);
    until(&mut [&mut a, &mut b], |both| both[0].has(6, Told::Connected));
    for_a_while(&mut [&mut a, &mut b]);
    assert_eq!(a.machine.told, [(2, Told::Connected), (4, Told::Connected), (6, Told::Connected)]);
    assert_eq!(a.peers.owners.len(), 2 + 3);
}

#[test]
fn a_name_without_an_address_closes_the_link_and_names_are_asked_anew() {
    let mut a = Member::new();
    for link in [2, 4] {
        a.dial(link, &[("nobody", 1), ("noone", 2)], 5_000);
        until(&mut [&mut a], |one| one[0].has(link, Told::Closed));
    }
    assert_eq!(a.machine.told, [(2, Told::Closed), (4, Told::Closed)]);
    assert_eq!(a.peers.complaints.unsaid, 3, "said once");
}

#[test]
fn a_dial_ends_at_its_timeout_and_a_slow_name_holds_up_no_other() {
    let (mut a, mut b) = (Member::new(), Member::new());
    let port = b.election.port();
    a.dial(2, &[("slow", port)], 100);
    a.dial(4, &[("slow", port)], 5_000);
    a.dial(6, &[("member", port)], 5_000);
    until(&mut [&mut a, &mut b], |both| both[0].has(6, Told::Connected) && both[0].has(2, Told::Closed));
    assert!(!a.has(4, Told::Connected));
    until(&mut [&mut a, &mut b], |both| both[0].has(4, Told::Connected));
    // Given up before its name is known.
    a.dial(8, &[("slow", port)], 5_000);
    a.turn();
    a.wants(PeerEffect::Close { link: LinkId(8) });
    a.turn();
    std::thread::sleep(Duration::from_millis(700));
    for_a_while(&mut [&mut a, &mut b]);
    assert_eq!(a.machine.told.len(), 3);
    assert_eq!(a.peers.links.len(), 2);
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_at_the_bound() {
    let (mut a, mut b) = connected();
    let megabyte = Bytes::from(vec![7; 1 << 20]);
    let all = limits::PEER_OUTPUT_MAX_BYTES >> 20;
    for _ in 0..all - 1 {
        a.wants(PeerEffect::Send { link: LinkId(2), bytes: megabyte.clone() });
    }
    for _ in 0..20 {
        a.turn();
    }
    assert_eq!(a.machine.told, [(2, Told::Connected)], "under the bound nothing happens");
    // The sockets hold some of it.
    for _ in 0..40 {
        a.wants(PeerEffect::Send { link: LinkId(2), bytes: megabyte.clone() });
    }
    until(&mut [&mut a], |one| one[0].has(2, Told::Closed));
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: megabyte });
    for_a_while(&mut [&mut a]);
    assert_eq!(a.machine.told, [(2, Told::Connected), (2, Told::Closed)]);
    until(&mut [&mut b], |one| one[0].has(1, Told::Closed));
}

#[test]
fn the_end_of_what_waits_is_told_once_and_when_asked() {
    let (mut a, mut b) = connected();
    let drained = |told: &[(u64, Told)]| told.iter().filter(|it| **it == (2, Told::Drained)).count();
    a.wants(PeerEffect::TellDrained { link: LinkId(2) });
    until(&mut [&mut a], |one| one[0].has(2, Told::Drained));
    // More than the sockets hold: not before the other has read most of it.
    let bytes = Bytes::from(vec![7; 64 << 20]);
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: bytes.clone() });
    a.wants(PeerEffect::TellDrained { link: LinkId(2) });
    for_a_while(&mut [&mut a]);
    assert_eq!(drained(&a.machine.told), 1);
    until(&mut [&mut a, &mut b], |both| drained(&both[0].machine.told) == 2);
    assert_eq!(a.peers.links[&LinkId(2)].output.cost(), 0);
    a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from_static(b"x") });
    until(&mut [&mut a, &mut b], |both| both[1].machine.bytes[&1].len() > bytes.len());
    assert_eq!(drained(&a.machine.told), 2, "nobody asked");
}

#[test]
fn small_and_large_pieces_leave_in_the_order_in_which_they_came() {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = std::net::TcpStream::connect(door.local_addr().unwrap()).unwrap();
    let (mut there, _) = door.accept().unwrap();
    let mut output = Output::default();
    let mut expected = Vec::new();
    for (at, length) in [1, 0, 300, 5_000, 2, 4_096, 4_096, 4_095, 7].into_iter().enumerate() {
        let piece = vec![at as u8; length];
        expected.extend_from_slice(&piece);
        output.push(piece.into());
    }
    assert_eq!(output.cost(), expected.len());
    assert!(matches!(output.send(&here), Sent::All), "with one call");
    assert_eq!(output.cost(), 0);
    let mut received = vec![0; expected.len()];
    there.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
    output.push(Bytes::from_static(b"small"));
    output.clear();
    assert_eq!(output.cost(), 0);
    assert!(matches!(output.send(&here), Sent::All));
}

#[test]
fn what_a_peer_said_last_is_heard_although_nothing_can_be_sent_to_it() {
    let (mut a, mut b) = connected();
    b.wants(PeerEffect::Send { link: LinkId(1), bytes: Bytes::from_static(b"last words") });
    b.wants(PeerEffect::Close { link: LinkId(1) });
    b.turn();
    // The other side closes both ways and resets what still comes.
    b.peers.close_all();
    drop(b);
    for _ in 0..20 {
        a.wants(PeerEffect::Send { link: LinkId(2), bytes: Bytes::from_static(b"too late") });
        a.peers.carry_out(&mut a.out.peer, &a.poller, clock::now());
        a.peers.settle();
        std::thread::sleep(Duration::from_millis(1));
    }
    until(&mut [&mut a], |one| one[0].has(2, Told::Closed));
    assert_eq!(a.machine.told, [(2, Told::Connected), (2, Told::Closed)]);
    assert_eq!(a.machine.bytes[&2], b"last words");
}

#[test]
fn strangers_do_not_get_every_descriptor() {
    let mut a = Member::new();
    a.peers.accepted = traffic::ACCEPTED_MAX - 1;
    let first = std::net::TcpStream::connect(a.election).unwrap();
    let second = std::net::TcpStream::connect(a.election).unwrap();
    until(&mut [&mut a], |one| !one[0].machine.told.is_empty());
    for_a_while(&mut [&mut a]);
    assert_eq!(a.machine.told, [(1, Told::Accepted(PeerPort::Election))]);
    second.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let end = std::io::Read::read(&mut &second, &mut [0; 8]);
    assert!(!matches!(&end, Ok(1..)) && end.as_ref().err().map(io::Error::kind) != Some(io::ErrorKind::WouldBlock));
    drop(first);
    until(&mut [&mut a], |one| one[0].has(1, Told::Closed));
    assert_eq!(a.peers.accepted, traffic::ACCEPTED_MAX - 1);
}

#[test]
fn tokens_meet_neither_clients_nor_the_drivers_own() {
    assert!(is_ours(token(0)) && is_ours(token(SERIALS - 1)));
    for other in [u64::MAX, u64::MAX - 1, u64::MAX - 2, 0, u64::from(u32::MAX - 1) << 32 | 5] {
        assert!(!is_ours(other), "{other:x}");
    }
}

#[test]
fn the_system_is_asked_for_names() {
    let wake: Arc<Wake> = Wake::new().unwrap();
    let resolver = Resolver::start(wake).unwrap();
    let ask = |host: &str| {
        resolver.ask(LinkId(2), PeerAddress { host: host.to_owned(), port: 99 });
        while !resolver.has_answers() {
            std::thread::sleep(Duration::from_millis(1));
        }
        resolver.take().remove(0)
    };
    let found = ask("localhost").found.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 99), "{found:?}");
    assert!(ask("no-such-name.invalid").found.is_err());
}
