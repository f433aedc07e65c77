//! Names of members become addresses, away from the executors: the system's resolver blocks, for many seconds when a
//! name server is gone.
//!
//! Every question is asked anew, because a member that moved keeps its name and not its address. A question about a
//! name that is being looked up already waits for that answer, so there are never more threads than names, and one
//! dead name does not stand before the others.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::super::news::News;
use super::super::wake::Wake;
use crate::base::{LinkId, PeerAddress};

/// What became of one question.
#[derive(Debug)]
pub struct Answer {
    pub link: LinkId,
    pub asked: PeerAddress,
    /// The addresses (IPv4 first), or why there are none.
    pub found: Result<Vec<SocketAddr>, String>,
}

/// The way to the threads that look names up. They end with it.
pub struct Resolver {
    questions: mpsc::Sender<(LinkId, PeerAddress)>,
    shared: Arc<Shared>,
}

struct Shared {
    /// To the executor that asks.
    answers: News<Answer>,
    /// Who asked for each name that is being looked up.
    under_way: Mutex<BTreeMap<String, Vec<(LinkId, PeerAddress)>>>,
    lookup: fn(&str) -> io::Result<Vec<IpAddr>>,
}

/// Names looked up at the same time. Members are few; what a stranger sends as its address must not cost a thread each.
const LOOKUPS_MAX: usize = 64;

/// Addresses of one name that are of use.
const ADDRESSES_MAX: usize = 8;

impl Resolver {
    /// `asker` is rung when an answer is there. Start it from a thread that is not bound to an executor's CPU.
    pub fn start(asker: Arc<Wake>) -> io::Result<Resolver> {
        Resolver::with(asker, system)
    }

    pub(super) fn with(asker: Arc<Wake>, lookup: fn(&str) -> io::Result<Vec<IpAddr>>) -> io::Result<Resolver> {
        let (questions, hear) = mpsc::channel::<(LinkId, PeerAddress)>();
        let shared = Arc::new(Shared { answers: News::new(asker), under_way: Mutex::default(), lookup });
        let for_thread = shared.clone();
        thread::Builder::new().name("peer-names".to_owned()).spawn(move || {
            for (link, asked) in hear {
                for_thread.begin(link, asked);
            }
        })?;
        Ok(Resolver { questions, shared })
    }

    pub fn ask(&self, link: LinkId, address: PeerAddress) {
        // The thread lives as long as this sender.
        let _ = self.questions.send((link, address));
    }

    pub fn has_answers(&self) -> bool {
        self.shared.answers.are_there()
    }

    pub fn take(&self) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.shared.answers.take(&mut answers);
        answers
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, link: LinkId, asked: PeerAddress) {
        let host = asked.host.clone();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(askers) = under_way.get_mut(&host) {
                return askers.push((link, asked));
            }
            if under_way.len() >= LOOKUPS_MAX {
                drop(under_way);
                return self.answer(link, asked, Err("too many names are being looked up".to_owned()));
            }
            under_way.insert(host.clone(), vec![(link, asked)]);
        }
        let shared = self.clone();
        let name = host.clone();
        let begun = thread::Builder::new().name("peer-name".to_owned()).spawn(move || {
            let found = (shared.lookup)(&name).map_err(|error| error.to_string());
            shared.end(&name, found);
        });
        if let Err(error) = begun {
            self.end(&host, Err(format!("no thread to look it up: {error}")));
        }
    }

    fn end(&self, host: &str, found: Result<Vec<IpAddr>, String>) {
        let askers = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
        for (link, asked) in askers.unwrap_or_default() {
            let port = asked.port;
            let found = found.clone().map(|ips| ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
            self.answer(link, asked, found);
        }
    }

    fn answer(&self, link: LinkId, asked: PeerAddress, found: Result<Vec<SocketAddr>, String>) {
        self.answers.tell([Answer { link, asked, found }]);
    }
}

/// Asks the system. IPv4 comes first, as in Java, whose members may listen on nothing else.
///
/// Errors: the name is unknown, or has no address.
pub fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    found.sort_by_key(IpAddr::is_ipv6); // Stable: within a family the system's order stays.
    found.dedup();
    found.truncate(ADDRESSES_MAX);
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(found)
}
