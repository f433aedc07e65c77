//! Clients at their sockets: connecting, asking, reading, leaving; and strangers who talk nonsense.

use super::client::{Hello, Op, framed};
use super::commit::Sent;
use super::crowd::{Learned, State};
use super::line::{Asked, Line, Phase};
use super::net::{Link, pieces};
use super::rng::Rng;
use super::server::Server;
use super::workload;
use super::world::{Happening, World};

impl World {
    /// A client's turn to do something.
    pub(super) fn act(&mut self, number: usize) -> Result<(), String> {
        if self.stopped {
            return Ok(());
        }
        let think = self.plan.think_us;
        let mut pause = 1 + self.clients[number].dice.below(2 * think);
        match self.clients[number].state {
            State::Down if self.calm => {}
            State::Down => {
                if self.clients[number].dice.chance(20) {
                    self.clients[number].forget();
                }
                self.connect(number)?;
            }
            State::Greeting => {
                // Nobody waits for ever.
                if self.clients[number].dice.chance(if self.calm { 300 } else { 30 }) {
                    self.leave(number);
                }
            }
            State::Up => pause = self.act_up(number, pause)?,
        }
        self.plan_in(pause, Happening::Act { client: number });
        Ok(())
    }

    fn act_up(&mut self, number: usize, pause: u64) -> Result<u64, String> {
        let timeout_us = self.clients[number].timeout_ms as u64 * 1000;
        let severed = self.clients[number].link.and_then(|link| self.links.get(&link)).is_none_or(|link| link.severed);
        let client = &mut self.clients[number];
        if client.closing {
            return Ok(pause);
        }
        if self.calm {
            if severed && client.dice.chance(300) {
                self.leave(number);
            } else if self.clients[number].asked.len() < 3 {
                self.ask(number, vec![Op::Ping]);
            }
            return Ok(timeout_us / 4);
        }
        match client.dice.below(1000) {
            0..12 => self.leave(number),
            12..18 => self.ask(number, vec![Op::CloseSession]),
            18..28 => {
                // Silent for long, perhaps too long.
                return Ok(client.dice.below(timeout_us * 2));
            }
            28..60 if client.asked.is_empty() => {
                let op = workload::auth(&mut client.dice);
                self.ask(number, vec![op]);
            }
            _ if severed && client.dice.chance(100) => self.leave(number),
            // Identities change the answers to what is under way: wait for the one that changes them.
            _ if client.asked.iter().any(|(_, op)| matches!(op, Op::Auth { .. })) => {}
            _ => {
                let count =
                    if client.dice.chance(100) { client.dice.between(5, 30) } else { client.dice.between(1, 3) };
                let ops =
                    (0..count).map(|_| workload::next(&mut self.clients[number].dice, &self.commits.model)).collect();
                self.ask(number, ops);
            }
        }
        Ok(pause)
    }

    fn connect(&mut self, number: usize) -> Result<(), String> {
        if !self.server.as_ref().is_some_and(Server::is_open) {
            return Ok(());
        }
        let ticks = self.clients[number].dice.between(0, 25) as i32;
        let hello = self.clients[number].hello(ticks * self.plan.tick_ms / 2);
        let address = self.clients[number].address.clone();
        let Some(link) = self.open_link(Some(number), hello.clone(), &address, false)? else { return Ok(()) };
        self.clients[number].link = Some(link);
        self.note(|| format!("client {number} connects by link {link}: {hello:?}"));
        self.send(link, hello.frame(), true);
        // A library sends what it has before it hears back: identities, watches, requests of before.
        let mut ops = Vec::new();
        if self.clients[number].dice.chance(300) {
            ops.push(workload::auth(&mut self.clients[number].dice));
        }
        if hello.session != 0 {
            ops.extend(self.clients[number].set_watches());
            for _ in 0..self.clients[number].dice.below(3) {
                ops.push(workload::next(&mut self.clients[number].dice, &self.commits.model));
            }
            self.ask(number, ops);
        }
        Ok(())
    }

    fn open_link(
        &mut self,
        client: Option<usize>,
        hello: Hello,
        address: &str,
        hostile: bool,
    ) -> Result<Option<u64>, String> {
        let shard = self.dice.index(usize::from(self.plan.shard_count));
        let now = self.clock();
        let id = self.next_link;
        let peer = format!("{address}:{}", 1024 + id % 60_000).parse().map_err(|error| format!("{error}"))?;
        let Some(server) = &mut self.server else { return Ok(None) };
        let mut out = crate::shard::Effects::default();
        let conn = server.shards[shard].on_accept(peer, now, &mut out);
        if !(out.dirty.is_empty() && out.mail.is_empty() && out.close.is_empty()) {
            return Err("a connection had effects before it said a word".into());
        }
        self.next_link += 1;
        let line = Line::new(shard as u16, conn, hello, address, hostile);
        self.links.insert(id, Link::new(client, line));
        Ok(Some(id))
    }

    /// Sends requests, and tells the witness what was asked.
    fn ask(&mut self, number: usize, ops: Vec<Op>) {
        let Some(id) = self.clients[number].link else { return };
        let mut bytes = Vec::new();
        for op in ops {
            let (xid, op) = self.clients[number].ask(op);
            self.note(|| format!("client {number} asks {xid}: {op:?}"));
            bytes.extend(op.frame(xid));
            let client = &mut self.clients[number];
            if op.is_write() {
                self.commits.sent.insert(
                    (client.session, xid),
                    Sent { op: op.clone(), ids: client.ids.clone(), link: id, early: client.state == State::Greeting },
                );
            }
            // Proofs of identity touch no session (parity SE-11), so they travel alone.
            let touches = !matches!(op, Op::Auth { .. });
            let alone = !touches || client.dice.chance(300);
            if let Some(link) = self.links.get_mut(&id) {
                link.line.asked.push_back(Asked { xid, op, floor: self.shown, at: self.now });
            }
            if alone {
                let sent = std::mem::take(&mut bytes);
                self.send(id, sent, touches);
            }
        }
        if !bytes.is_empty() {
            self.send(id, bytes, true);
        }
    }

    /// Puts bytes on their way to the server; `touches` if they end in a request that keeps the session alive.
    fn send(&mut self, id: u64, bytes: Vec<u8>, touches: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.severed || !link.at_client {
            return;
        }
        let parts = pieces(&bytes, &mut self.net_dice);
        let last = parts.len() - 1;
        for (index, bytes) in parts.into_iter().enumerate() {
            let at = link.arrive_at_server(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.planned += 1;
            let whole = touches && index == last;
            self.queue.insert((at.max(self.now), self.planned), Happening::AtServer { link: id, bytes, whole });
        }
    }

    pub(super) fn at_server(&mut self, id: u64, bytes: &[u8], whole: bool) -> Result<(), String> {
        let (_, most) = self.ears();
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(server) = self.server.as_mut().filter(|_| link.at_server && !link.severed) else { return Ok(()) };
        let idle = link.inbox.is_empty();
        link.inbox.extend_from_slice(bytes);
        let readable = server.shards[usize::from(link.line.shard)].wants_input(link.line.conn);
        let current = link.client.is_some_and(|client| self.clients[client].link == Some(id));
        let greets = matches!(link.line.phase, Phase::Greeting(_));
        if !greets
            && whole
            && idle
            && readable
            && current
            && let Some(heard) = self.hearing.get_mut(&link.line.session)
        {
            if most.saturating_sub(heard.most) >= heard.timeout_least_ms as u64 * 1000 {
                heard.lapsed_at = self.now;
            }
            heard.most = heard.most.max(most);
        }
        self.read_socket(id)
    }

    pub(super) fn end_at_server(&mut self, id: u64) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.at_server) else { return Ok(()) };
        link.inbox_ended = true;
        self.read_socket(id)
    }

    /// The shard reads what has arrived, if it wants to and is awake.
    pub(super) fn read_socket(&mut self, id: u64) -> Result<(), String> {
        let (least, _) = self.ears();
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(server) = self.server.as_mut().filter(|_| link.at_server) else { return Ok(()) };
        let (shard, conn) = (usize::from(link.line.shard), link.line.conn);
        let stopped = server.stopped_until(shard);
        if stopped > now {
            self.plan_at(stopped, Happening::Readable { link: id });
            return Ok(());
        }
        if !link.inbox.is_empty() && server.shards[shard].wants_input(conn) {
            let bytes = std::mem::take(&mut link.inbox);
            if let Some(heard) = self.hearing.get_mut(&link.line.session) {
                heard.least = heard.least.max(least);
            }
            if let Phase::Greeting(hello) = &link.line.phase
                && let Some(heard) = self.hearing.get_mut(&hello.session)
            {
                heard.least = heard.least.max(least);
            }
            return self.shard_turn(shard, |machine, now, out| machine.on_bytes(conn, &bytes, now, out));
        }
        if link.inbox_ended && link.inbox.is_empty() {
            link.at_server = false;
            return self.shard_turn(shard, |machine, _, out| machine.on_hangup(conn, out));
        }
        Ok(())
    }

    pub(super) fn at_client(&mut self, id: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.severed || !link.at_client {
            return Ok(());
        }
        let Some(number) = link.client else {
            link.collected.extend_from_slice(bytes);
            link.unread = link.unread.saturating_sub(bytes.len());
            return self.flush(id);
        };
        link.held.extend_from_slice(bytes);
        let client = &mut self.clients[number];
        if client.stuck {
            // It reads again one day, or never.
            return Ok(());
        }
        let bytes = std::mem::take(&mut link.held);
        link.unread -= bytes.len();
        match client.read(&bytes) {
            Learned::Nothing | Learned::Granted => {}
            Learned::Refused | Learned::Closed => {
                client.forget();
                self.leave(number);
            }
        }
        self.flush(id)
    }

    pub(super) fn end_at_client(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.severed) else { return };
        link.at_client = false;
        if let Some(number) = link.client.filter(|number| self.clients[*number].link == Some(id)) {
            self.clients[number].down();
        }
    }

    /// The client's side goes, with or without a goodbye to the server.
    pub(super) fn leave(&mut self, number: usize) {
        let Some(id) = self.clients[number].link else { return };
        self.clients[number].down();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.at_client = false;
        if !link.severed {
            let at = link.arrive_at_server(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.plan_at(at, Happening::EndAtServer { link: id });
        }
    }

    /// Somebody connects who is no client.
    pub(super) fn connect_stranger(&mut self, bytes: Vec<u8>, word: Option<&'static str>) -> Result<(), String> {
        if !self.server.as_ref().is_some_and(Server::is_open) {
            return Ok(());
        }
        let nobody = Hello { last_zxid_seen: 0, timeout_ms: 0, session: 0, password: [0; 16], old: false };
        let Some(id) = self.open_link(None, nobody, "127.0.0.9", true)? else { return Ok(()) };
        self.note(|| format!("a stranger sends {} bytes, {word:?}, by link {id}", bytes.len()));
        if let Some(link) = self.links.get_mut(&id) {
            link.word = word;
        }
        self.send(id, bytes, false);
        if word.is_none() {
            // It goes some day, as everybody does.
            let at = self.now + self.dice.below(500_000);
            self.plan_at(at, Happening::EndAtServer { link: id });
        }
        Ok(())
    }
}

const WORDS: [&str; 16] = [
    "ruok", "srvr", "mntr", "stat", "cons", "dump", "wchs", "wchc", "wchp", "conf", "envi", "dirs", "crst", "srst",
    "isro", "hash",
];

/// What strangers send: a four-letter word, or bytes that are no client's.
pub fn garbage(dice: &mut Rng) -> (Vec<u8>, Option<&'static str>) {
    let random = |dice: &mut Rng, count: u64| (0..count).map(|_| dice.next() as u8).collect::<Vec<u8>>();
    let hello = Hello { last_zxid_seen: 0, timeout_ms: 1000, session: 0, password: [0; 16], old: false }.frame();
    match dice.below(7) {
        0 | 1 => {
            let word = *dice.pick(&WORDS);
            (word.as_bytes().to_vec(), Some(word))
        }
        2 => {
            let count = dice.between(1, 200);
            (random(dice, count), None)
        }
        // A length that no frame may have.
        3 => (vec![0x7f, 0xff, 0xff, 0xff, 0, 0], None),
        4 => {
            let count = dice.between(0, 44);
            (framed(&random(dice, count)), None)
        }
        // A handshake that breaks off.
        5 => {
            let end = dice.index(hello.len());
            (hello[..end].to_vec(), None)
        }
        // A session, and then frames too short for any request.
        _ => {
            let count = dice.between(0, 7);
            ([hello, framed(&random(dice, count))].concat(), None)
        }
    }
}
