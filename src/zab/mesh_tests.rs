//! The connections of one member, step by step: who dials, who hangs up, what is said again.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::mesh::{LinkIds, Mesh, MeshEffect, MeshSettings};
use super::view::View;
use super::view::tests::view_of;
use crate::base::{Instant, LinkId, PeerAddress, ServerId, Zxid};
use crate::codec::vote::{Notification, PeerState, Preamble, PreambleVersion};

use MeshEffect::{Close, Dial, Gone, Send};

struct Desk {
    mesh: Mesh,
    ids: LinkIds,
    now: Instant,
    out: Vec<MeshEffect>,
}

/// Server 2 of 1, 2, 3 (and the observer 9), unless a test says otherwise.
fn desk() -> Desk {
    desk_of(2, view_of(&[1, 2, 3], &[9]), false)
}

fn desk_of(me: i64, view: View, multi_address: bool) -> Desk {
    let settings = MeshSettings { connect_timeout_ms: 5_000, identify_timeout_ms: 10_000, multi_address };
    let mesh = Mesh::new(ServerId(me), Arc::new(view), settings);
    Desk { mesh, ids: LinkIds::default(), now: Instant(1_000_000), out: Vec::new() }
}

impl Desk {
    fn taken(&mut self) -> Vec<MeshEffect> {
        std::mem::take(&mut self.out)
    }

    fn send(&mut self, to: i64, text: &'static str) -> Vec<MeshEffect> {
        let bytes = Bytes::from_static(text.as_bytes());
        self.mesh.send(ServerId(to), bytes, self.now, &mut self.ids, &mut self.out);
        self.taken()
    }

    fn accepted(&mut self, link: u64) -> Vec<MeshEffect> {
        let from: SocketAddr = ([127, 0, 0, 1], 40_000).into();
        self.mesh.on_accepted(LinkId(link), from, self.now, &mut self.out);
        self.taken()
    }

    fn connected(&mut self, link: u64) -> Vec<MeshEffect> {
        self.mesh.on_connected(LinkId(link), self.now, &mut self.out);
        self.taken()
    }

    fn bytes(&mut self, link: u64, bytes: &[u8]) -> Vec<MeshEffect> {
        self.mesh.on_bytes(LinkId(link), bytes, self.now, &mut self.ids, &mut self.out);
        self.taken()
    }

    fn closed(&mut self, link: u64) -> Vec<MeshEffect> {
        self.mesh.on_closed(LinkId(link), self.now, &mut self.ids, &mut self.out);
        self.taken()
    }

    fn wait(&mut self, ms: u64) -> Vec<MeshEffect> {
        self.now = self.now.plus_ms(ms);
        self.mesh.on_tick(self.now, &mut self.ids, &mut self.out);
        self.taken()
    }

    fn is_connected(&self, to: i64) -> bool {
        self.mesh.connected().any(|id| id == ServerId(to))
    }
}

fn dial(link: u64, peer: i64) -> MeshEffect {
    let address = PeerAddress { host: format!("zk{peer}"), port: 3000 + peer as u16 };
    Dial { link: LinkId(link), to: vec![address], timeout_ms: 5_000 }
}

fn send(link: u64, text: &'static str) -> MeshEffect {
    Send { link: LinkId(link), bytes: Bytes::from_static(text.as_bytes()) }
}

fn close(link: u64) -> MeshEffect {
    Close { link: LinkId(link) }
}

fn gone(ids: &[i64]) -> MeshEffect {
    Gone { voters: ids.iter().map(|id| ServerId(*id)).collect() }
}

fn preamble(server: i64, address: Option<(&str, u16)>) -> Bytes {
    let addresses = address.map(|(host, port)| PeerAddress { host: host.into(), port }).into_iter().collect();
    let version = if address.is_some() { PreambleVersion::V1 } else { PreambleVersion::Legacy };
    Preamble { version, server: ServerId(server), addresses }.encode()
}

fn notification() -> Notification {
    Notification {
        state: PeerState::Looking,
        leader: ServerId(3),
        zxid: Zxid(7),
        election_epoch: 1,
        peer_epoch: 2,
        version: 2,
        config: Some("version=0".into()),
    }
}

#[test]
fn a_smaller_peer_is_dialled_told_who_we_are_and_kept() {
    let mut desk = desk();
    assert_eq!(desk.send(1, "a"), [dial(2, 1)]);
    assert_eq!(desk.send(1, "b"), [], "one dial at a time");
    let said = preamble(2, Some(("zk2", 3002)));
    assert_eq!(desk.connected(2), [Send { link: LinkId(2), bytes: said }, send(2, "b")], "only the newest is sent");
    assert!(desk.is_connected(1));
    assert_eq!(desk.send(1, "c"), [send(2, "c")], "a connected peer is not dialled");
}

#[test]
fn a_larger_peer_is_told_who_we_are_and_dials_back() {
    let mut desk = desk();
    assert_eq!(desk.send(3, "a"), [dial(2, 3)]);
    let said = preamble(2, Some(("zk2", 3002)));
    assert_eq!(desk.connected(2), [Send { link: LinkId(2), bytes: said }, close(2)]);
    assert_eq!(desk.send(3, "b"), [], "it knows; no second dial meanwhile");
    assert_eq!(desk.accepted(1), []);
    assert_eq!(desk.bytes(1, &preamble(3, Some(("zk3", 3003)))), [send(1, "b")]);
    assert!(desk.is_connected(3));
}

#[test]
fn a_larger_peer_that_never_dials_back_is_asked_again() {
    let mut desk = desk();
    desk.mesh.set_looking(true);
    desk.send(3, "a");
    desk.connected(2);
    assert_eq!(desk.mesh.next_deadline(), Some(desk.now.plus_ms(1_000)));
    assert_eq!(desk.wait(999), []);
    assert_eq!(desk.wait(1), [dial(4, 3)]);
}

#[test]
fn a_smaller_peer_that_dials_is_dialled_back_where_it_says_it_is() {
    let mut desk = desk();
    desk.accepted(1);
    let back = Dial { link: LinkId(2), to: vec![PeerAddress { host: "10.1.1.1".into(), port: 77 }], timeout_ms: 5_000 };
    assert_eq!(desk.bytes(1, &preamble(1, Some(("10.1.1.1", 77)))), [close(1), back]);
    // Where that is wrong, the next dial goes where the configuration says.
    assert_eq!(desk.closed(2), []);
    assert_eq!(desk.send(1, "a"), []);
    assert_eq!(desk.wait(50), [dial(4, 1)]);
}

#[test]
fn wildcards_and_old_preambles_leave_the_configured_address() {
    for said in [preamble(1, Some(("0.0.0.0", 3001))), preamble(1, None), preamble(1, Some(("h", 0)))] {
        let mut desk = desk();
        desk.accepted(1);
        assert_eq!(desk.bytes(1, &said), [close(1), dial(2, 1)]);
    }
}

#[test]
fn a_smaller_peer_that_lost_its_link_gets_a_new_one() {
    let mut desk = desk();
    desk.send(1, "a");
    desk.connected(2);
    desk.wait(250);
    desk.accepted(1);
    assert_eq!(desk.bytes(1, &preamble(1, Some(("zk1", 3001)))), [close(1), close(2), dial(4, 1)]);
    let effects = desk.connected(4);
    assert_eq!(effects.last(), Some(&send(4, "a")), "the last message is said again");
}

#[test]
fn a_dial_that_crossed_ours_does_not_break_the_young_link() {
    let mut desk = desk();
    desk.send(1, "a");
    desk.connected(2);
    desk.accepted(1);
    assert_eq!(desk.bytes(1, &preamble(1, Some(("zk1", 3001)))), [close(1)]);
    assert!(desk.is_connected(1));
}

#[test]
fn a_larger_peer_replaces_its_link() {
    let mut desk = desk();
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    desk.send(3, "a");
    desk.accepted(3);
    assert_eq!(desk.bytes(3, &preamble(3, None)), [send(3, "a"), close(1)]);
    assert_eq!(desk.closed(1), [], "news of the old one changes nothing");
    assert!(desk.is_connected(3));
}

#[test]
fn a_dial_that_comes_through_to_a_connected_peer_hangs_up_unheard() {
    let mut desk = desk();
    desk.send(3, "a");
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    assert_eq!(desk.connected(2), [close(2)], "a preamble would make it drop the healthy link");
}

#[test]
fn a_larger_peer_that_closed_is_probed_and_given_time_to_come_back() {
    let mut desk = desk();
    desk.mesh.set_looking(true);
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    assert_eq!(desk.closed(1), [dial(2, 3)]);
    assert_eq!(desk.connected(2), [close(2)], "somebody is there; it may be dialling us already");
    assert_eq!(desk.wait(249), []);
    assert_eq!(desk.wait(1), [dial(4, 3)]);
    assert_eq!(desk.connected(4).len(), 2, "now it is told who we are");

    let mut desk = self::desk();
    desk.mesh.set_looking(true);
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    desk.closed(1);
    assert_eq!(desk.closed(2), [gone(&[3])], "nobody is there");
}

#[test]
fn while_looking_a_refusing_voter_is_tried_again_at_growing_intervals() {
    let mut desk = desk();
    desk.mesh.set_looking(true);
    assert_eq!(desk.send(1, "a"), [dial(2, 1)]);
    assert_eq!(desk.closed(2), [gone(&[1])]);
    for (attempt, pause) in [50, 100, 200, 400, 800, 1_000, 1_000].into_iter().enumerate() {
        assert_eq!(desk.mesh.next_deadline(), Some(desk.now.plus_ms(pause)));
        assert_eq!(desk.wait(pause - 1), []);
        let link = 4 + 2 * attempt as u64;
        assert_eq!(desk.wait(1), [dial(link, 1)]);
        assert_eq!(desk.closed(link), [], "nothing new");
    }
    desk.mesh.connect_all(desk.now, &mut desk.ids, &mut desk.out);
    let dials = desk.taken();
    assert_eq!(dials, [dial(18, 1), dial(20, 3)], "all voters, whatever their pause");
    assert_eq!(desk.connected(18)[0], Send { link: LinkId(18), bytes: preamble(2, Some(("zk2", 3002))) });
}

#[test]
fn who_is_back_is_no_longer_gone() {
    let mut desk = desk();
    desk.mesh.set_looking(true);
    desk.send(1, "a");
    desk.send(3, "a");
    assert_eq!(desk.closed(2), [gone(&[1])]);
    assert_eq!(desk.closed(4), [gone(&[1, 3])]);
    desk.accepted(1);
    assert_eq!(desk.bytes(1, &preamble(3, None)), [send(1, "a"), gone(&[1])]);
    desk.wait(50);
    assert_eq!(desk.connected(6).last(), Some(&gone(&[])));
}

#[test]
fn outside_an_election_nobody_is_dialled_without_need() {
    let mut desk = desk();
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    assert_eq!(desk.closed(1), []);
    assert_eq!(desk.send(1, "a"), [dial(2, 1)]);
    assert_eq!(desk.closed(2), []);
    assert_eq!(desk.wait(100_000), []);
    assert_eq!(desk.mesh.next_deadline(), None);
}

#[test]
fn an_unfinished_message_waits_for_its_rest_and_many_come_at_once() {
    let mut desk = desk();
    desk.accepted(1);
    let news = MeshEffect::Notification { from: ServerId(3), notification: notification() };
    let mut all = preamble(3, Some(("zk3", 3003))).to_vec();
    all.extend_from_slice(&notification().encode());
    all.extend_from_slice(&notification().encode());
    let mut heard = Vec::new();
    for byte in &all {
        heard.extend(desk.bytes(1, &[*byte]));
    }
    assert_eq!(heard, [news.clone(), news.clone()]);
    desk.accepted(3);
    let heard = desk.bytes(3, &all);
    assert_eq!(heard, [close(1), news.clone(), news]);
}

#[test]
fn nonsense_closes_its_own_link_and_no_other() {
    let mut desk = desk();
    desk.accepted(1);
    desk.bytes(1, &preamble(3, None));
    desk.accepted(3);
    assert_eq!(desk.bytes(3, b"GET / HTTP/1.1\r\n\r\n"), [close(3)], "an id, it seems, but then no message");
    desk.accepted(5);
    assert_eq!(desk.bytes(5, &[0xff; 16]), [close(5)]);
    assert!(desk.is_connected(3));
    // A message that cannot be read is dropped; a length that cannot be ends the link.
    assert_eq!(desk.bytes(1, &[0, 0, 0, 3, 1, 2, 3]), []);
    assert_eq!(desk.bytes(1, &[0x7f, 0, 0, 0]), [close(1)]);
    assert!(!desk.is_connected(3));
    assert_eq!(desk.bytes(1, &notification().encode()), [], "what a closed link still says is not heard");
}

#[test]
fn our_own_id_from_outside_is_refused() {
    let mut desk = desk();
    desk.accepted(1);
    assert_eq!(desk.bytes(1, &preamble(2, Some(("zk2", 3002)))), [close(1)]);
}

#[test]
fn an_observer_without_an_id_gets_one_and_is_dialled_back() {
    let mut desk = desk();
    for (accepted, dialled, id) in [(1, 2, -1), (3, 4, -2)] {
        desk.accepted(accepted);
        let back =
            Dial { link: LinkId(dialled), to: vec![PeerAddress { host: "h".into(), port: 5 }], timeout_ms: 5_000 };
        assert_eq!(desk.bytes(accepted, &preamble(i64::MAX, Some(("h", 5)))), [close(accepted), back]);
        desk.connected(dialled);
        let news = MeshEffect::Notification { from: ServerId(id), notification: notification() };
        assert_eq!(desk.bytes(dialled, &notification().encode()), [news]);
        assert_eq!(desk.send(id, "a"), [send(dialled, "a")]);
    }
    desk.closed(2);
    assert_eq!(desk.send(-1, "b"), [], "it is forgotten with its link");
}

#[test]
fn silent_and_superfluous_links_are_closed() {
    let mut desk = desk();
    for link in 0..32 {
        assert_eq!(desk.accepted(2 * link + 1), []);
    }
    assert_eq!(desk.accepted(65), [close(1)], "the oldest makes room");
    assert_eq!(desk.mesh.next_deadline(), Some(desk.now.plus_ms(10_000)));
    assert_eq!(desk.wait(10_000).len(), 32);
    assert_eq!(desk.mesh.next_deadline(), None);
}

#[test]
fn strangers_are_answered_but_not_without_number() {
    let mut desk = desk_of(2, view_of(&[1, 2, 3], &[]), false);
    for stranger in 0..64 {
        let link = 2 * stranger as u64 + 1;
        desk.accepted(link);
        desk.bytes(link, &preamble(100 + stranger, None));
        assert!(desk.is_connected(100 + stranger));
    }
    desk.accepted(1_001);
    assert_eq!(desk.bytes(1_001, &preamble(500, None)), [close(1_001)]);
    desk.closed(1);
    desk.accepted(1_003);
    desk.bytes(1_003, &preamble(501, None));
    assert!(desk.is_connected(501) && !desk.is_connected(100));
    desk.accepted(1_005);
    desk.bytes(1_005, &preamble(3, None));
    assert!(desk.is_connected(3), "a member always has its place");
}

#[test]
fn several_addresses_are_said_only_where_that_is_configured() {
    let mut view = view_of(&[1, 2], &[]);
    let mut second = view.members[&ServerId(2)].addresses[0].clone();
    second.host = "other".into();
    view.members.get_mut(&ServerId(2)).unwrap().addresses.push(second);
    for (multi_address, version, count) in [(false, PreambleVersion::V1, 1), (true, PreambleVersion::V2, 2)] {
        let mut desk = desk_of(2, view.clone(), multi_address);
        desk.send(1, "a");
        let Send { bytes, .. } = &desk.connected(2)[0] else { panic!("no preamble") };
        let (said, _) = Preamble::cut(bytes).unwrap().unwrap();
        // A version 1 text of one address reads back as itself.
        assert_eq!((said.version, said.addresses.len()), (version, count));
    }
}
