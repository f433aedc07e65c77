//! Binding the election port and the quorum port when the server starts.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::super::accept::{ipv6_exists, listen};
use super::resolve;
use crate::replica::PeerPort;

/// One address of this member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerListen {
    pub port: PeerPort,
    /// A name or address; `None` is every interface (`quorumListenOnAllIPs`).
    pub host: Option<String>,
    /// 0 takes a free one.
    pub number: u16,
}

/// What could not be bound.
#[derive(Debug)]
pub struct Unbound {
    pub listen: PeerListen,
    pub error: io::Error,
}

/// Why binding ended without listeners.
#[derive(Debug)]
pub enum BindError {
    Failed(Unbound),
    /// The pause between two attempts said so.
    Interrupted,
}

/// As Java's sockets have it; members are few.
const BACKLOG: i32 = 50;

/// Between two attempts. ZK: QuorumCnxManager.Listener.
pub const RETRY_PAUSE_MS: i64 = 1_000;

/// Binds all of them. `attempts` each (`electionPortBindRetry`; 0 = for ever); `pause` waits [`RETRY_PAUSE_MS`] and
/// says whether to go on.
pub fn bind_all(
    wanted: &[PeerListen],
    attempts: u32,
    mut pause: impl FnMut() -> bool,
) -> Result<Vec<(PeerPort, TcpListener)>, BindError> {
    let mut bound = Vec::new();
    for listen in wanted {
        let mut tried = 0;
        loop {
            match bind(listen) {
                Ok(listeners) => break bound.extend(listeners.into_iter().map(|listener| (listen.port, listener))),
                Err(error) => {
                    tried += 1;
                    if attempts != 0 && tried >= attempts {
                        return Err(BindError::Failed(Unbound { listen: listen.clone(), error }));
                    }
                    let host = listen.host.as_deref().unwrap_or("*");
                    tracing::warn!(%error, "cannot listen on {host}:{} for members yet; trying again", listen.number);
                }
            }
            if !pause() {
                return Err(BindError::Interrupted);
            }
        }
    }
    Ok(bound)
}

/// Every address of the name that this machine has: members may know us by any of them.
fn bind(wanted: &PeerListen) -> io::Result<Vec<TcpListener>> {
    let addresses: Vec<SocketAddr> = match &wanted.host {
        Some(host) => resolve::system(host)?.into_iter().map(|ip| SocketAddr::new(ip, wanted.number)).collect(),
        None if ipv6_exists() => vec![(Ipv6Addr::UNSPECIFIED, wanted.number).into()],
        None => vec![(Ipv4Addr::UNSPECIFIED, wanted.number).into()],
    };
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut strange = None;
    for mut address in addresses {
        if wanted.number == 0
            && let Some(first) = bound.first()
        {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address, BACKLOG, false) {
            Ok(listener) => bound.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => strange = Some(error),
            Err(error) => return Err(error),
        }
    }
    match strange {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u16) -> PeerListen {
        PeerListen { port: PeerPort::Election, host: Some("127.0.0.1".to_owned()), number }
    }

    #[test]
    fn a_taken_port_is_tried_again_until_it_is_free() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = holder.local_addr().unwrap().port();
        let mut pauses = 0;
        let failed = bind_all(&[at(number)], 3, || {
            pauses += 1;
            true
        });
        let Err(BindError::Failed(Unbound { error, listen })) = failed else { panic!("{failed:?}") };
        assert_eq!((error.kind(), listen.number, pauses), (io::ErrorKind::AddrInUse, number, 2));

        let interrupted = bind_all(&[at(number)], 0, || false);
        assert!(matches!(interrupted, Err(BindError::Interrupted)), "{interrupted:?}");

        let mut holder = Some(holder);
        let bound = bind_all(&[at(number), at(0)], 0, || {
            holder = None;
            true
        })
        .unwrap();
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0].1.local_addr().unwrap().port(), number);
    }

    #[test]
    fn a_name_is_bound_at_every_address_it_has_here() {
        let everywhere = PeerListen { port: PeerPort::Quorum, host: None, number: 0 };
        let bound = bind_all(&[everywhere], 1, || true).unwrap();
        let port = bound[0].1.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();

        let name = PeerListen { port: PeerPort::Quorum, host: Some("localhost".to_owned()), number: 0 };
        let bound = bind_all(&[name], 1, || true).unwrap();
        let port = bound[0].1.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(bound.iter().all(|(_, listener)| listener.local_addr().unwrap().port() == port));
    }
}
