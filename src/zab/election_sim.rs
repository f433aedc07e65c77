//! Elections among many: meshes and elections over an invented network, from a seed. Connections come and go, bytes
//! come late and in pieces, servers die and come back, the network falls apart; then it must end well.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::election::{Election, ElectionEffect, ElectionSettings};
use super::mesh::{LinkIds, Mesh, MeshEffect, MeshSettings};
use super::view::View;
use super::view::tests::view_of;
use crate::base::{Dice, Instant, LinkId, ServerId, Zxid};
use crate::codec::vote::PeerState;

mod nights;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Start(ServerId),
    Kill(ServerId),
    /// It has noticed that the role it has since then is over.
    Look(ServerId, Instant),
    DialArrives {
        from: ServerId,
        link: LinkId,
        to: ServerId,
    },
    Connected {
        at: ServerId,
        link: LinkId,
    },
    Bytes {
        at: ServerId,
        link: LinkId,
        bytes: Vec<u8>,
    },
    Closed {
        at: ServerId,
        link: LinkId,
    },
    CutSomeLink,
    /// Two servers do not hear each other, or do again.
    Part(ServerId, ServerId),
    Heal,
    /// Do leader and followers find each other?
    CheckRole(ServerId),
}

struct Node {
    machines: Option<(Mesh, Election)>,
    ids: LinkIds,
    accepted: u64,
    /// Where each link's other end is, and when its last bytes arrive there.
    links: BTreeMap<LinkId, (ServerId, LinkId, Instant)>,
    dialled: BTreeSet<LinkId>,
    zxid: Zxid,
    epoch: i64,
    role_since: Instant,
    established: bool,
}

struct World {
    seed: u64,
    dice: Dice,
    now: Instant,
    view: Arc<View>,
    nodes: BTreeMap<ServerId, Node>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    event_count: u64,
    parted: BTreeSet<(ServerId, ServerId)>,
    latency_us: u64,
    elected: Vec<(Instant, ServerId)>,
}

impl World {
    fn new(seed: u64, view: View, latency_us: u64) -> World {
        let mut dice = Dice(seed);
        let node = |id: &ServerId| {
            let (epoch, zxid) = (dice.below(3) as i64, dice.below(4) as i64);
            let node = Node {
                machines: None,
                ids: LinkIds::default(),
                accepted: 1,
                links: BTreeMap::new(),
                dialled: BTreeSet::new(),
                zxid: Zxid(epoch << 32 | zxid),
                epoch,
                role_since: Instant(0),
                established: false,
            };
            (*id, node)
        };
        let nodes = view.members.keys().map(node).collect();
        World {
            seed,
            dice: Dice(seed ^ 0x5eed),
            now: Instant(0),
            view: Arc::new(view),
            nodes,
            events: BinaryHeap::new(),
            event_count: 0,
            parted: BTreeSet::new(),
            latency_us,
            elected: Vec::new(),
        }
    }

    fn at(&mut self, time: Instant, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((time, self.event_count, event)));
    }

    fn in_ms(&mut self, ms: u64, event: Event) {
        self.at(self.now.plus_ms(ms), event);
    }

    fn soon(&mut self) -> Instant {
        Instant(self.now.0 + 50 + self.dice.below(self.latency_us))
    }

    fn node(&mut self, id: ServerId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this world")
    }

    fn election(&self, id: ServerId) -> Option<&Election> {
        self.nodes[&id].machines.as_ref().map(|(_, election)| election)
    }

    fn is_parted(&self, a: ServerId, b: ServerId) -> bool {
        self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// Runs until `end`; deadlines of the machines count as events.
    fn run_until(&mut self, end: Instant) {
        loop {
            let deadlines = self.nodes.values().filter_map(|node| {
                let (mesh, election) = node.machines.as_ref()?;
                [mesh.next_deadline(), election.next_deadline()].into_iter().flatten().min()
            });
            let tick = deadlines.min().map(|at| at.max(self.now));
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = [tick, event].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.now = next;
            if event == Some(next) {
                let Reverse((_, _, event)) = self.events.pop().expect("just peeked");
                self.happen(event);
            } else {
                let ids: Vec<ServerId> = self.nodes.keys().copied().collect();
                ids.into_iter().for_each(|id| self.tick(id));
            }
        }
        self.now = end;
    }

    fn tick(&mut self, id: ServerId) {
        let now = self.now;
        let node = self.node(id);
        let Some((mesh, election)) = &mut node.machines else { return };
        let (mut by_mesh, mut by_election) = (Vec::new(), Vec::new());
        mesh.on_tick(now, &mut node.ids, &mut by_mesh);
        election.on_tick(now, &mut by_election);
        self.carry_out(id, by_mesh, by_election);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let mut effects = Vec::new();
        match event {
            Event::Start(id) if self.nodes[&id].machines.is_some() => {}
            Event::Start(id) => {
                let settings =
                    MeshSettings { connect_timeout_ms: 5_000, identify_timeout_ms: 4_000, multi_address: false };
                let mesh = Mesh::new(id, self.view.clone(), settings);
                let election = Election::new(id, self.view.clone(), ElectionSettings::default(), now);
                self.node(id).machines = Some((mesh, election));
                self.look(id);
            }
            Event::Look(id, role_since) => {
                let looks = self.election(id).is_none_or(|election| election.state() == PeerState::Looking);
                if !looks && self.nodes[&id].role_since == role_since {
                    self.look(id);
                }
            }
            Event::Kill(id) => {
                self.node(id).machines = None;
                self.node(id).dialled.clear();
                let links: Vec<LinkId> = self.node(id).links.keys().copied().collect();
                links.into_iter().for_each(|link| self.close(id, link));
            }
            Event::DialArrives { from, link, to } => {
                if self.is_parted(from, to) {
                    return self.in_ms(5_000, Event::Closed { at: from, link });
                }
                let at = self.soon();
                if self.nodes[&to].machines.is_none() || self.nodes[&from].machines.is_none() {
                    return self.at(at, Event::Closed { at: from, link });
                }
                let node = self.node(to);
                node.accepted += 2;
                let accepted = LinkId(node.accepted);
                node.links.insert(accepted, (from, link, now));
                let Some((mesh, _)) = &mut node.machines else { return };
                mesh.on_accepted(accepted, SocketAddr::from(([127, 0, 0, 1], 1)), now, &mut effects);
                if self.node(from).dialled.remove(&link) {
                    self.node(from).links.insert(link, (to, accepted, now));
                    self.at(at, Event::Connected { at: from, link });
                } else {
                    self.at(at, Event::Closed { at: to, link: accepted });
                }
                self.carry_out(to, effects, Vec::new());
            }
            Event::Connected { at, link } => {
                let node = self.node(at);
                if !node.links.contains_key(&link) {
                    return;
                }
                let Some((mesh, _)) = &mut node.machines else { return };
                mesh.on_connected(link, now, &mut effects);
                self.carry_out(at, effects, Vec::new());
            }
            Event::Bytes { at, link, bytes } => {
                let node = self.node(at);
                if !node.links.contains_key(&link) {
                    return;
                }
                let Some((mesh, _)) = &mut node.machines else { return };
                mesh.on_bytes(link, &bytes, now, &mut node.ids, &mut effects);
                self.carry_out(at, effects, Vec::new());
            }
            Event::Closed { at, link } => {
                let node = self.node(at);
                node.links.remove(&link);
                node.dialled.remove(&link);
                let Some((mesh, _)) = &mut node.machines else { return };
                mesh.on_closed(link, now, &mut node.ids, &mut effects);
                self.carry_out(at, effects, Vec::new());
            }
            Event::CutSomeLink => {
                let all: Vec<(ServerId, LinkId)> =
                    self.nodes.iter().flat_map(|(id, node)| node.links.keys().map(|link| (*id, *link))).collect();
                if !all.is_empty() {
                    let (id, link) = all[self.dice.below(all.len() as u64) as usize];
                    self.cut(id, link);
                }
            }
            Event::Part(a, b) => {
                self.parted.insert((a.min(b), a.max(b)));
                let between = self.nodes[&a].links.iter().filter(|(_, (other, ..))| *other == b);
                let between: Vec<LinkId> = between.map(|(link, _)| *link).collect();
                between.into_iter().for_each(|link| self.cut(a, link));
            }
            Event::Heal => self.parted.clear(),
            Event::CheckRole(id) => self.check_role(id),
        }
    }

    fn look(&mut self, id: ServerId) {
        let now = self.now;
        let node = self.node(id);
        node.established = false;
        let (zxid, epoch) = (node.zxid, node.epoch);
        let Some((mesh, election)) = &mut node.machines else { return };
        let mut effects = Vec::new();
        mesh.set_looking(true);
        election.look(zxid, epoch, now, &mut effects);
        self.carry_out(id, Vec::new(), effects);
    }

    /// Both ends learn that a link is dead, each in its time; what was on its way is lost.
    fn cut(&mut self, id: ServerId, link: LinkId) {
        let Some((other, their_link, _)) = self.node(id).links.remove(&link) else { return };
        self.node(other).links.remove(&their_link);
        for (at, link) in [(id, link), (other, their_link)] {
            let time = self.soon();
            self.at(time, Event::Closed { at, link });
        }
    }

    fn close(&mut self, id: ServerId, link: LinkId) {
        self.node(id).dialled.remove(&link);
        let Some((other, their_link, last)) = self.node(id).links.remove(&link) else { return };
        let time = self.soon().max(last);
        self.at(time, Event::Closed { at: other, link: their_link });
    }

    fn carry_out(&mut self, id: ServerId, by_mesh: Vec<MeshEffect>, by_election: Vec<ElectionEffect>) {
        for effect in by_mesh {
            match effect {
                MeshEffect::Dial { link, to, .. } => {
                    let to = ServerId(i64::from(to[0].port) - 3000);
                    self.node(id).dialled.insert(link);
                    let time = self.soon();
                    self.at(time, Event::DialArrives { from: id, link, to });
                }
                MeshEffect::Send { link, bytes } => self.send(id, link, &bytes),
                MeshEffect::Close { link } => self.close(id, link),
                MeshEffect::Notification { from, notification } => {
                    let now = self.now;
                    let Some((_, election)) = &mut self.node(id).machines else { return };
                    let mut effects = Vec::new();
                    election.on_notification(from, notification, now, &mut effects);
                    self.carry_out(id, Vec::new(), effects);
                }
                MeshEffect::Gone { voters } => {
                    let now = self.now;
                    let Some((_, election)) = &mut self.node(id).machines else { return };
                    let mut effects = Vec::new();
                    election.on_reach(voters, now, &mut effects);
                    self.carry_out(id, Vec::new(), effects);
                }
            }
        }
        for effect in by_election {
            let now = self.now;
            let node = self.node(id);
            let Some((mesh, election)) = &mut node.machines else { return };
            let mut effects = Vec::new();
            match effect {
                ElectionEffect::Send { to, bytes } => mesh.send(to, bytes, now, &mut node.ids, &mut effects),
                ElectionEffect::ConnectAll => mesh.connect_all(now, &mut node.ids, &mut effects),
                ElectionEffect::VoterLooks { .. } | ElectionEffect::AskOracle => {}
                ElectionEffect::Decided { leader, .. } => {
                    mesh.set_looking(false);
                    assert_eq!(election.vote().leader, leader);
                    node.role_since = now;
                    self.elected.push((now, leader));
                    self.in_ms(20, Event::CheckRole(id));
                }
            }
            self.carry_out(id, effects, Vec::new());
        }
    }

    fn send(&mut self, id: ServerId, link: LinkId, bytes: &[u8]) {
        let Some((other, their_link, last)) = self.nodes[&id].links.get(&link).copied() else { return };
        if self.is_parted(id, other) {
            return;
        }
        let middle = self.dice.below(bytes.len() as u64) as usize;
        let mut last = last;
        for piece in [&bytes[..middle], &bytes[middle..]].into_iter().filter(|piece| !piece.is_empty()) {
            last = self.soon().max(last);
            self.at(last, Event::Bytes { at: other, link: their_link, bytes: piece.to_vec() });
        }
        self.node(id).links.insert(link, (other, their_link, last));
    }

    fn followers(&self, leader: ServerId) -> BTreeSet<ServerId> {
        let follows = |id: &ServerId| {
            *id == leader
                || (!self.is_parted(*id, leader)
                    && self.election(*id).is_some_and(|election| {
                        election.state() == PeerState::Following && election.vote().leader == leader
                    }))
        };
        self.nodes.keys().copied().filter(follows).collect()
    }

    /// What discovery and synchronization would find out: no quorum behind the leader, no leader above the follower.
    fn check_role(&mut self, id: ServerId) {
        let Some(election) = self.election(id) else { return };
        let (state, leader) = (election.state(), election.vote().leader);
        let since_ms = self.now.millis_since(self.nodes[&id].role_since);
        let established = self.nodes[&id].established;
        let holds = match state {
            PeerState::Looking => return,
            PeerState::Leading => {
                let holds = self.view.has_quorum(&self.followers(id));
                if holds && !established {
                    let epoch = 1 + self.nodes.values().map(|node| node.epoch).max().unwrap_or(0);
                    self.establish(id, epoch, None);
                }
                holds || (since_ms < 1_000 && !established)
            }
            PeerState::Following | PeerState::Observing => {
                let leads = !self.is_parted(id, leader)
                    && self.election(leader).is_some_and(|election| election.state() == PeerState::Leading);
                let of_leader = &self.nodes[&leader];
                if leads && of_leader.established && !established && self.dice.chance(500) {
                    let of_leader = &self.nodes[&leader];
                    self.establish(id, of_leader.epoch, Some(of_leader.zxid));
                }
                leads || (since_ms < 300 && self.election(leader).is_some())
            }
        };
        if holds {
            self.in_ms(20, Event::CheckRole(id));
        } else {
            let ms = self.dice.below(30);
            self.in_ms(ms, Event::Look(id, self.nodes[&id].role_since));
        }
    }

    fn establish(&mut self, id: ServerId, epoch: i64, zxid: Option<Zxid>) {
        let node = self.node(id);
        node.established = true;
        node.epoch = epoch;
        node.zxid = zxid.unwrap_or(node.zxid);
        if let Some((_, election)) = &mut node.machines {
            election.on_established(epoch);
        }
    }

    /// Whom all that live have as leader, if they agree and it leads.
    fn common_leader(&self) -> Option<ServerId> {
        let mut living = self.nodes.values().filter_map(|node| node.machines.as_ref());
        let leader = living.next()?.1.vote().leader;
        let agrees = |(id, node): (&ServerId, &Node)| match &node.machines {
            None => true,
            Some((_, election)) => {
                let expected = match election.state() {
                    PeerState::Leading => *id == leader,
                    PeerState::Following => *id != leader && self.view.is_voter(*id),
                    PeerState::Observing => !self.view.is_voter(*id),
                    PeerState::Looking => false,
                };
                expected && election.vote().leader == leader
            }
        };
        self.nodes.iter().all(agrees).then_some(leader)
    }

    /// Every link that one side holds, the other holds too, and the larger id has dialled it (its number is even).
    fn assert_mesh(&self) {
        let mut pairs = BTreeSet::new();
        for (id, node) in &self.nodes {
            let Some((mesh, _)) = &node.machines else { continue };
            for peer in mesh.connected() {
                let (other, _) = self.nodes[&peer].machines.as_ref().expect("nobody holds a link to the dead");
                assert!(other.connected().any(|back| back == *id), "seed {}: {id} -> {peer}", self.seed);
                pairs.insert((*id.min(&peer), *id.max(&peer)));
            }
            for (link, (other, ..)) in &node.links {
                assert_eq!(link.0 % 2 == 0, id > other, "seed {}: {id} keeps {link:?} to {other}", self.seed);
            }
        }
        let links: usize = self.nodes.values().map(|node| node.links.len()).sum();
        assert_eq!(links, 2 * pairs.len(), "seed {}: one link a pair", self.seed);
    }

    fn best(&self, among: impl Iterator<Item = ServerId>) -> ServerId {
        let eligible = among.filter(|id| self.view.weight(*id) > 0 && self.nodes[id].zxid != Zxid::NONE);
        eligible.max_by_key(|id| (self.nodes[id].epoch, self.nodes[id].zxid, *id)).expect("somebody can lead")
    }
}
