//! One invented client: connects, asks, reads what comes, goes silent, comes back with its session or without.

use std::collections::{BTreeSet, VecDeque};

use super::client::{Event, Hello, NODE_CHILDREN_CHANGED, Op, Reply, Welcome};
use super::line::KNOWN_DIGESTS;
use super::rng::Rng;
use crate::base::Id;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Down,
    Greeting,
    Up,
}

pub struct Client {
    pub dice: Rng,
    pub address: String,
    pub state: State,
    /// The connection, by the world's number.
    pub link: Option<u64>,
    pub session: i64,
    pub password: [u8; 16],
    pub timeout_ms: i32,
    pub last_zxid: i64,
    next_xid: i32,
    /// Asked on this connection and not answered yet.
    pub asked: VecDeque<(i32, Op)>,
    /// Identities proved on this connection, or about to be.
    pub ids: Vec<Id>,
    old: bool,
    inbox: Vec<u8>,
    /// What it believes is armed: data, exist, child, persistent, recursive.
    pub watches: [BTreeSet<String>; 5],
    /// Reads nothing at all.
    pub stuck: bool,
    pub closing: bool,
    pub received: u64,
}

/// What a client learned from the bytes it read.
#[derive(Debug, PartialEq, Eq)]
pub enum Learned {
    Nothing,
    Granted,
    Refused,
    Closed,
}

impl Client {
    pub fn new(dice: Rng, address: String) -> Client {
        Client {
            dice,
            address,
            state: State::Down,
            link: None,
            session: 0,
            password: [0; 16],
            timeout_ms: 0,
            last_zxid: 0,
            next_xid: 1,
            asked: VecDeque::new(),
            ids: Vec::new(),
            old: false,
            inbox: Vec::new(),
            watches: Default::default(),
            stuck: false,
            closing: false,
            received: 0,
        }
    }

    /// A new connection's first frame.
    pub fn hello(&mut self, timeout_ms: i32) -> Hello {
        self.state = State::Greeting;
        self.old = self.dice.chance(100);
        self.inbox.clear();
        self.asked.clear();
        self.stuck = false;
        self.closing = false;
        self.ids = vec![Id::new("ip", &self.address)];
        let mut password = self.password;
        if self.session != 0 && self.dice.chance(15) {
            password[3] ^= 1;
        }
        Hello { last_zxid_seen: self.last_zxid, timeout_ms, session: self.session, password, old: self.old }
    }

    /// The connection is gone.
    pub fn down(&mut self) {
        self.state = State::Down;
        self.link = None;
        self.asked.clear();
        self.inbox.clear();
    }

    /// Starts over without a session.
    pub fn forget(&mut self) {
        self.session = 0;
        self.password = [0; 16];
        self.last_zxid = 0;
        self.next_xid = 1;
        self.watches = Default::default();
    }

    /// Numbers a request and remembers it.
    pub fn ask(&mut self, op: Op) -> (i32, Op) {
        let xid = match &op {
            Op::Ping => -2,
            Op::Auth { .. } => -4,
            Op::SetWatches { .. } => -8,
            _ => {
                self.next_xid += 1;
                self.next_xid
            }
        };
        if let Op::Auth { scheme: "digest", credential } = &op
            && let Some((_, id)) = KNOWN_DIGESTS.iter().find(|(bytes, _)| bytes.as_bytes() == *credential)
        {
            let id = Id::new("digest", id);
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        self.closing |= op == Op::CloseSession;
        self.asked.push_back((xid, op.clone()));
        (xid, op)
    }

    /// What a real library re-arms after a reconnect; `None` when there is nothing to.
    pub fn set_watches(&mut self) -> Option<Op> {
        if self.watches.iter().all(BTreeSet::is_empty) {
            return None;
        }
        let two = self.dice.chance(700);
        let mut lists: [Vec<String>; 5] = std::array::from_fn(|at| self.watches[at].iter().cloned().collect());
        if !two {
            lists[3].clear();
            lists[4].clear();
        }
        Some(Op::SetWatches { two, relative: self.last_zxid, lists })
    }

    /// Takes in bytes. What makes no sense is the witness's business: it has seen them already.
    pub fn read(&mut self, bytes: &[u8]) -> Learned {
        self.inbox.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.inbox);
        let mut rest = &buffer[..];
        let mut learned = Learned::Nothing;
        while let Some((word, tail)) = rest.split_first_chunk::<4>() {
            let Some(payload) = tail.get(..u32::from_be_bytes(*word) as usize) else { break };
            rest = &tail[payload.len()..];
            self.received += 1;
            if self.state == State::Greeting {
                learned = self.welcomed(payload);
            } else if let Ok(reply) = Reply::decode(payload) {
                if reply.zxid > 0 {
                    self.last_zxid = self.last_zxid.max(reply.zxid);
                }
                if reply.xid == -1 {
                    if let Ok(event) = reply.event() {
                        self.heard(&event);
                    }
                } else if let Some((_, op)) = self.asked.pop_front() {
                    self.answered(&op, reply.error);
                    if op == Op::CloseSession && reply.error == 0 {
                        learned = Learned::Closed;
                    }
                }
            }
            if learned == Learned::Refused || learned == Learned::Closed {
                break;
            }
        }
        self.inbox = rest.to_vec();
        learned
    }

    fn welcomed(&mut self, payload: &[u8]) -> Learned {
        self.state = State::Up;
        match Welcome::decode(payload, self.old) {
            Ok(welcome) if welcome.session != 0 => {
                self.session = welcome.session;
                self.password = welcome.password;
                self.timeout_ms = welcome.timeout_ms;
                Learned::Granted
            }
            _ => Learned::Refused,
        }
    }

    fn heard(&mut self, event: &Event) {
        if event.kind == NODE_CHILDREN_CHANGED {
            self.watches[2].remove(&event.path);
        } else {
            self.watches[0].remove(&event.path);
            self.watches[1].remove(&event.path);
            if event.kind == super::client::NODE_DELETED {
                self.watches[2].remove(&event.path);
            }
        }
    }

    fn answered(&mut self, op: &Op, error: i32) {
        let (list, path) = match op {
            Op::GetData { path, watch: true } if error == 0 => (0, path),
            Op::Exists { path, watch: true } if error == 0 => (0, path),
            Op::Exists { path, watch: true } if error == super::judge::NO_NODE => (1, path),
            Op::GetChildren { path, watch: true, .. } if error == 0 => (2, path),
            Op::AddWatch { path, mode: 0 } if error == 0 => (3, path),
            Op::AddWatch { path, mode: 1 } if error == 0 => (4, path),
            _ => return,
        };
        self.watches[list].insert(path.clone());
    }
}
