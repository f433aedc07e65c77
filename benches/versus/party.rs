//! What is measured: one server alone, or an ensemble of three of the same kind.

use std::time::{Duration, Instant};

use crate::options::{Kind, Options};
use crate::server::{self, Manner, Server};

/// Servers of an ensemble.
const MEMBERS: usize = 3;
/// How long an ensemble may take to have a leader.
const ELECTION_PATIENCE: Duration = Duration::from_secs(60);
/// How long an ensemble is left alone after its start, for what servers do first.
const REST: Duration = Duration::from_secs(1);

/// The servers of one kind that take part; killed when dropped.
pub struct Party {
    pub kind: Kind,
    pub servers: Vec<Server>,
}

impl Party {
    /// Starts servers on empty data directories, three in an ensemble, and waits until all serve.
    pub fn start(options: &Options, kind: Kind, manner: &Manner) -> Result<Party, String> {
        let mut party = Party { kind, servers: Vec::new() };
        if !options.ensemble {
            let port = server::free_ports(1)?[0];
            party.servers.push(Server::prepare(options, kind, manner, port, None)?);
        } else {
            let ports = server::free_ports(3 * MEMBERS)?;
            let mut lines = String::from("initLimit=60\nsyncLimit=10\n");
            for (number, ports) in ports.chunks(3).enumerate() {
                lines += &format!("server.{}=127.0.0.1:{}:{}\n", number + 1, ports[1], ports[2]);
            }
            for (number, ports) in ports.chunks(3).enumerate() {
                let member = Some((number + 1, lines.as_str()));
                party.servers.push(Server::prepare(options, kind, manner, ports[0], member)?);
            }
        }
        for server in &mut party.servers {
            server.spawn()?;
        }
        party.wait_until_it_serves()?;
        Ok(party)
    }

    fn is_ensemble(&self) -> bool {
        self.servers.len() > 1
    }

    /// Waits until every server serves and, in an ensemble, one of them leads.
    pub fn wait_until_it_serves(&mut self) -> Result<(), String> {
        for server in &mut self.servers {
            server.wait_until_it_serves()?;
        }
        if self.is_ensemble() {
            self.leader()?;
            std::thread::sleep(REST);
        }
        Ok(())
    }

    /// The place of the leader among the servers.
    pub fn leader(&self) -> Result<usize, String> {
        let start = Instant::now();
        loop {
            if let Some(place) = self.servers.iter().position(Server::leads) {
                return Ok(place);
            }
            if start.elapsed() > ELECTION_PATIENCE {
                return Err(format!("no {} leads", self.kind));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Addresses of all servers, the leader's first or last: a single connection goes to the first.
    pub fn addresses(&self, leader_last: bool) -> Result<String, String> {
        let mut addresses: Vec<String> = self.servers.iter().map(Server::address).collect();
        if self.is_ensemble() {
            let leader = addresses.remove(self.leader()?);
            addresses.insert(if leader_last { addresses.len() } else { 0 }, leader);
        }
        Ok(addresses.join(","))
    }

    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// Lets a paused server run for a measurement. Ensembles are never paused: each time they went on, their members
    /// would have to find a leader first, and idle ones use next to nothing.
    pub fn alone<T>(&mut self, measure: impl FnOnce(&mut Party) -> Result<T, String>) -> Result<T, String> {
        if self.is_ensemble() {
            return measure(self);
        }
        self.servers[0].resume()?;
        let result = measure(self);
        self.servers[0].pause()?;
        result
    }

    /// After warming up: halts a server that is alone until it is its turn.
    pub fn rest(&self) -> Result<(), String> {
        if self.is_ensemble() { Ok(()) } else { self.servers[0].pause() }
    }

    /// Resident bytes of all servers together, as they are now.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        self.pids().into_iter().map(crate::machine::resident_bytes).sum()
    }
}
