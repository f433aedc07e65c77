//! Clients at their sockets: connecting to any member, asking, reading, leaving, moving on with their session.

use super::super::client::{Hello, Op};
use super::super::commit::Sent;
use super::super::crowd::{Learned, State};
use super::super::line::{Asked, Line, Phase};
use super::super::net::{Link, pieces};
use super::super::workload;
use super::machine::Machine;
use super::world::{Cluster, Happening, Visit};
use crate::shard;

impl<M: Machine> Cluster<M> {
    /// A client's turn to do something.
    pub(super) fn act(&mut self, number: usize) -> Result<(), String> {
        if self.stopped {
            return Ok(());
        }
        let think = self.plan.think_us;
        let mut pause = 1 + self.clients[number].dice.below(2 * think);
        match self.clients[number].state {
            State::Down => {
                if !self.calm && self.clients[number].dice.chance(20) {
                    self.clients[number].forget();
                }
                self.connect(number)?;
            }
            State::Greeting => {
                // Nobody waits for ever; without a leader it may be long.
                if self.clients[number].dice.chance(30) {
                    self.leave(number);
                }
            }
            State::Up => pause = self.act_up(number, pause),
        }
        self.plan_in(pause, Happening::Act { client: number });
        Ok(())
    }

    fn act_up(&mut self, number: usize, pause: u64) -> u64 {
        let timeout_us = self.clients[number].timeout_ms as u64 * 1000;
        let visit = self.clients[number].link.and_then(|link| self.visits.get(&link));
        let severed = visit.is_none_or(|visit| visit.link.severed);
        let client = &mut self.clients[number];
        if client.closing && !self.calm {
            return pause;
        }
        if self.calm {
            // What is never answered is given up, as a library would after its timeout.
            let oldest = visit.and_then(|visit| visit.link.line.asked.front()).map_or(self.now, |asked| asked.at);
            if severed || oldest + timeout_us < self.now {
                self.leave(number);
            } else if self.clients[number].asked.is_empty() && !self.clients[number].closing {
                let write = Op::SetData { path: "/".into(), data: None, version: -1 };
                self.ask(number, if self.idle { vec![Op::Ping] } else { vec![write, Op::Ping] });
            }
            return timeout_us / 4;
        }
        match client.dice.below(1000) {
            0..15 => self.leave(number),
            15..20 => self.ask(number, vec![Op::CloseSession]),
            20..30 => {
                // Silent for long, perhaps too long.
                return client.dice.below(timeout_us * 2);
            }
            30..60 if client.asked.is_empty() => {
                let op = workload::auth(&mut client.dice);
                self.ask(number, vec![op]);
            }
            _ if severed && client.dice.chance(100) => self.leave(number),
            // A leader may be long in coming.
            _ if client.asked.len() > 50 => {
                if client.dice.chance(50) {
                    self.leave(number);
                }
            }
            // Identities change the answers to what is under way: wait for the one that changes them.
            _ if client.asked.iter().any(|(_, op)| matches!(op, Op::Auth { .. })) => {}
            _ => {
                let count =
                    if client.dice.chance(100) { client.dice.between(5, 30) } else { client.dice.between(1, 3) };
                let model = &self.history.commits.model;
                let ops = (0..count).map(|_| workload::next(&mut client.dice, model)).collect();
                self.ask(number, ops);
            }
        }
        pause
    }

    fn connect(&mut self, number: usize) -> Result<(), String> {
        let up: Vec<usize> = (0..self.members.len()).filter(|member| self.is_open(*member)).collect();
        if up.is_empty() {
            return Ok(());
        }
        let member = *self.clients[number].dice.pick(&up);
        let ticks = self.clients[number].dice.between(0, 25) as i32;
        let hello = self.clients[number].hello(ticks * self.plan.tick_ms / 2);
        let link = self.open_visit(number, member, hello.clone())?;
        self.clients[number].link = Some(link);
        if hello.session != 0 {
            self.history.commits.came_back.insert(hello.session);
            self.ears.on_timeout(hello.session, hello.timeout_ms.max(self.plan.tick_ms * 2), false);
            let before = self.homes[number].replace(member);
            self.summary.moves += u64::from(before.is_some_and(|before| before != member));
        } else {
            self.homes[number] = Some(member);
        }
        self.note(|| format!("client {number} connects to member {member} by link {link}: {hello:?}"));
        self.send(link, hello.frame());
        // A library sends what it has before it hears back: identities, watches, requests of before.
        let mut ops = Vec::new();
        if self.clients[number].dice.chance(300) {
            ops.push(workload::auth(&mut self.clients[number].dice));
        }
        if hello.session != 0 {
            ops.extend(self.clients[number].set_watches());
            for _ in 0..self.clients[number].dice.below(3) {
                ops.push(workload::next(&mut self.clients[number].dice, &self.history.commits.model));
            }
            self.ask(number, ops);
        }
        Ok(())
    }

    /// Whether its clients' port is listened to.
    fn is_open(&self, member: usize) -> bool {
        self.members[member].server.as_ref().is_some_and(|server| server.machine.may_serve())
    }

    fn open_visit(&mut self, number: usize, member: usize, hello: Hello) -> Result<u64, String> {
        let shard = self.dice.index(usize::from(self.plan.shard_count));
        let id = self.next_link;
        let address = self.clients[number].address.clone();
        let peer = format!("{address}:{}", 1024 + id % 60_000).parse().map_err(|error| format!("{error}"))?;
        let now = self.members[member].clock.now(self.now);
        let server = self.members[member].server.as_mut().ok_or("a visit to nobody")?;
        let mut out = shard::Effects::default();
        let conn = server.shards[shard].on_accept(peer, now, &mut out);
        self.next_link += 1;
        let line = Line::new(shard as u16, conn, hello, &address, false);
        self.visits.insert(id, Visit { member, link: Link::new(Some(number), line), heard: Vec::new() });
        Ok(id)
    }

    /// Sends requests, and tells the witness what was asked.
    pub(super) fn ask(&mut self, number: usize, ops: Vec<Op>) {
        let Some(id) = self.clients[number].link else { return };
        let mut bytes = Vec::new();
        for op in ops {
            let (xid, op) = self.clients[number].ask(op);
            self.note(|| format!("client {number} asks {xid}: {op:?}"));
            bytes.extend(op.frame(xid));
            let client = &mut self.clients[number];
            if op.is_write() {
                self.history.commits.sent.insert(
                    (client.session, xid),
                    Sent { op: op.clone(), ids: client.ids.clone(), link: id, early: client.state == State::Greeting },
                );
            }
            let alone = client.dice.chance(300);
            if let Some(visit) = self.visits.get_mut(&id) {
                visit.link.line.asked.push_back(Asked { xid, op, floor: self.shown, at: self.now });
            }
            if alone {
                let sent = std::mem::take(&mut bytes);
                self.send(id, sent);
            }
        }
        if !bytes.is_empty() {
            self.send(id, bytes);
        }
    }

    fn send(&mut self, id: u64, bytes: Vec<u8>) {
        let Some(Visit { link, .. }) = self.visits.get_mut(&id) else { return };
        if link.severed || !link.at_client {
            return;
        }
        for bytes in pieces(&bytes, &mut self.net_dice) {
            let at = link.arrive_at_server(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.planned += 1;
            self.queue.insert((at.max(self.now), self.planned), Happening::AtServer { link: id, bytes });
        }
    }

    pub(super) fn at_server(&mut self, id: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(Visit { member, link, .. }) = self.visits.get_mut(&id) else { return Ok(()) };
        if self.members[*member].server.is_none() || !link.at_server || link.severed {
            return Ok(());
        }
        link.inbox.extend_from_slice(bytes);
        self.read_socket(id)
    }

    pub(super) fn end_at_server(&mut self, id: u64) -> Result<(), String> {
        let Some(visit) = self.visits.get_mut(&id).filter(|visit| visit.link.at_server) else { return Ok(()) };
        visit.link.inbox_ended = true;
        self.read_socket(id)
    }

    /// The shard reads what has arrived, if it wants to and is awake.
    pub(super) fn read_socket(&mut self, id: u64) -> Result<(), String> {
        let now = self.now;
        let Some(Visit { member, link, heard }) = self.visits.get_mut(&id) else { return Ok(()) };
        let member = *member;
        let Some(server) = self.members[member].server.as_mut().filter(|_| link.at_server) else { return Ok(()) };
        let (shard, conn) = (usize::from(link.line.shard), link.line.conn);
        let stopped = server.stopped_until[shard];
        if stopped > now {
            self.plan_at(stopped, Happening::Readable { link: id });
            return Ok(());
        }
        if !link.inbox.is_empty() && server.shards[shard].wants_input(conn) {
            let bytes = std::mem::take(&mut link.inbox);
            let current = link.client.is_some_and(|client| self.clients[client].link == Some(id));
            // Proofs of identity and pieces of frames touch no session; only what surely does counts.
            let is_live = matches!(link.line.phase, Phase::Live) && link.line.session != 0;
            let holds_frame = ends_a_request(heard, &bytes);
            if is_live && current && holds_frame {
                self.ears.on_server(link.line.session, member, now);
            }
            // It takes the session over, however late it is heard, and whether or not the client waits for it.
            if let Phase::Greeting(hello) = &link.line.phase
                && hello.session != 0
            {
                self.ears.on_hello(hello.session, member, hello.timeout_ms.max(self.plan.tick_ms * 2), now);
            }
            return self.shard_turn(member, shard, |machine, now, out| machine.on_bytes(conn, &bytes, now, out));
        }
        if link.inbox_ended && link.inbox.is_empty() {
            link.at_server = false;
            return self.shard_turn(member, shard, |machine, _, out| machine.on_hangup(conn, out));
        }
        Ok(())
    }

    pub(super) fn at_client(&mut self, id: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(Visit { link, .. }) = self.visits.get_mut(&id) else { return Ok(()) };
        let Some(number) = link.client.filter(|_| link.at_client && !link.severed) else { return Ok(()) };
        link.unread -= bytes.len();
        let client = &mut self.clients[number];
        if client.link != Some(id) {
            return Ok(());
        }
        match client.read(bytes) {
            Learned::Nothing | Learned::Granted => {}
            Learned::Refused | Learned::Closed => {
                client.forget();
                self.leave(number);
            }
        }
        self.flush(id)
    }

    pub(super) fn end_at_client(&mut self, id: u64) {
        let Some(visit) = self.visits.get_mut(&id).filter(|visit| !visit.link.severed) else { return };
        visit.link.at_client = false;
        let current = |number: &usize| self.clients[*number].link == Some(id);
        if let Some(number) = visit.link.client.filter(current) {
            self.clients[number].down();
        }
    }

    /// The client's side goes, with or without a goodbye to the server.
    pub(super) fn leave(&mut self, number: usize) {
        let Some(id) = self.clients[number].link else { return };
        self.clients[number].down();
        let Some(Visit { link, .. }) = self.visits.get_mut(&id) else { return };
        link.at_client = false;
        if !link.severed {
            let at = link.arrive_at_server(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.plan_at(at, Happening::EndAtServer { link: id });
        }
    }
}

/// Follows the frames of a stream: whether `bytes` end a whole request that touches its session. The four bytes of
/// a length, the xid behind them: -4 is a proof of identity, which touches nothing.
fn ends_a_request(partial: &mut Vec<u8>, bytes: &[u8]) -> bool {
    partial.extend_from_slice(bytes);
    let mut touched = false;
    let mut at = 0;
    while let Some(word) = partial.get(at..at + 4) {
        let length = u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize;
        let Some(frame) = partial.get(at + 4..at + 4 + length) else { break };
        touched |= frame.get(..4).is_some_and(|xid| xid != (-4i32).to_be_bytes());
        at += 4 + length;
    }
    partial.drain(..at);
    touched
}
