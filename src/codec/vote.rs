//! What members say to each other on the election port (spec: quorum 2, 3): who is calling, then notifications.

use std::fmt::Write;
use std::net::IpAddr;

use bytes::Bytes;

use super::partial::{Lack, Partial};
use super::{Malformed, Reader, Writer, frame};
use crate::base::{PeerAddress, ServerId, Zxid};

/// The longest notification; a longer frame ends the connection (ZK: QuorumCnxManager.PACKETMAXSIZE).
pub const NOTIFICATION_BYTES_MAX: usize = 524_288;

/// The longest address text in front of a connection (ZK: QuorumCnxManager.maxBuffer).
const ADDRESSES_BYTES_MAX: usize = 2048;

const VERSION_1: i64 = -65536;
const VERSION_2: i64 = -65535;

/// How the caller introduces itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PreambleVersion {
    /// Before 3.5: only the server's id, no address.
    Legacy,
    /// One address.
    V1,
    /// Any number (`multiAddress.enabled`). Older servers hang up on it (ZOOKEEPER-3720).
    V2,
}

/// The first thing on an election connection, from who dialled (ZK: QuorumCnxManager.InitialMessage).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preamble {
    pub version: PreambleVersion,
    pub server: ServerId,
    /// Where the caller takes election connections itself. As read, without wildcards: who gets none looks in its
    /// configuration (ZOOKEEPER-2164).
    pub addresses: Vec<PeerAddress>,
}

impl Preamble {
    /// All of it, to be sent in one piece: Apache reads the addresses with a single `read`. Version 1 has room for
    /// the first address only, the legacy form for none.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        let w = &mut Writer(&mut out);
        let (version, addresses) = match self.version {
            PreambleVersion::Legacy => (None, &[][..]),
            PreambleVersion::V1 => (Some(VERSION_1), self.addresses.get(..1).unwrap_or_default()),
            PreambleVersion::V2 => (Some(VERSION_2), &self.addresses[..]),
        };
        if let Some(version) = version {
            w.i64(version);
        }
        w.i64(self.server.0);
        if version.is_some() {
            w.string(&addresses_to_text(addresses));
        }
        out.into()
    }

    /// Cuts it off the front of `bytes`: it and how many bytes it took; `None` while it is not complete.
    pub fn cut(bytes: &[u8]) -> Result<Option<(Preamble, usize)>, Malformed> {
        let mut partial = Partial::new(bytes, ADDRESSES_BYTES_MAX);
        match take_preamble(&mut partial) {
            Ok(preamble) => Ok(Some((preamble, partial.taken()))),
            Err(Lack::Bytes(_)) => Ok(None),
            Err(Lack::Malformed(fault)) => Err(fault),
        }
    }
}

fn take_preamble(partial: &mut Partial<'_>) -> Result<Preamble, Lack> {
    let version = match partial.i64()? {
        server if server >= 0 => {
            let version = PreambleVersion::Legacy;
            return Ok(Preamble { version, server: ServerId(server), addresses: Vec::new() });
        }
        VERSION_1 => PreambleVersion::V1,
        VERSION_2 => PreambleVersion::V2,
        _ => return Err(Malformed("unknown version of the election protocol").into()),
    };
    let server = ServerId(partial.i64()?);
    let text = partial.buffer()?.filter(|text| !text.is_empty()).ok_or(Malformed("a caller without an address"))?;
    let text = std::str::from_utf8(text).map_err(|_| Malformed("an address is not UTF-8"))?;
    let mut addresses = addresses_from_text(text).ok_or(Malformed("badly formed address"))?;
    let is_wildcard = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    addresses.retain(|address| !is_wildcard(&address.host));
    Ok(Preamble { version, server, addresses })
}

/// `host:port|host:port`, IPv6 in brackets.
pub fn addresses_to_text(addresses: &[PeerAddress]) -> String {
    let mut text = String::new();
    for (number, address) in addresses.iter().enumerate() {
        let separator = if number == 0 { "" } else { "|" };
        let _ = write!(text, "{separator}{address}");
    }
    text
}

/// As [`addresses_to_text`] writes them; `None` if one is not an address.
pub fn addresses_from_text(text: &str) -> Option<Vec<PeerAddress>> {
    // Java's split drops empty parts at the end.
    text.trim_end_matches('|').split('|').map(address_from_text).collect()
}

fn address_from_text(text: &str) -> Option<PeerAddress> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:")?,
        None => text.split_once(':')?,
    };
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| PeerAddress { host: host.into(), port })
}

/// What a member is doing (ZK: QuorumPeer.ServerState).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum PeerState {
    Looking = 0,
    Following = 1,
    Leading = 2,
    Observing = 3,
}

impl PeerState {
    fn from_i32(code: i32) -> Option<PeerState> {
        [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing]
            .into_iter()
            .find(|state| *state as i32 == code)
    }
}

/// One vote on its way (ZK: FastLeaderElection.Notification).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The sender's.
    pub state: PeerState,
    /// Who the sender votes for, or follows.
    pub leader: ServerId,
    /// The last zxid of that server.
    pub zxid: Zxid,
    /// The round (ZK: logicalclock).
    pub election_epoch: i64,
    /// That server's current epoch.
    pub peer_epoch: i64,
    /// As received; [`Notification::VERSION`] is sent whatever it says.
    pub version: i32,
    /// The sender's committed configuration as text; not judged here.
    pub config: Option<String>,
}

impl Notification {
    /// Since 3.5 everybody sends it.
    pub const VERSION: i32 = 2;

    /// With its length in front: ready to be sent.
    pub fn encode(&self) -> Bytes {
        let config = self.config.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(48 + config.len());
        let w = &mut Writer(&mut out);
        w.i32(44 + config.len() as i32);
        w.i32(self.state as i32);
        w.i64(self.leader.0);
        w.i64(self.zxid.0);
        w.i64(self.election_epoch);
        w.i64(self.peer_epoch);
        w.i32(Notification::VERSION);
        w.buffer(Some(config.as_bytes()));
        out.into()
    }

    /// Reads a frame's payload. The sizes accepted are Apache's: 28 (no peer epoch), 40 (no version), and 44 and
    /// more; what is behind the configuration is ignored.
    ///
    /// Errors: the message is to be dropped, the connection is none the worse.
    pub fn decode(payload: &[u8]) -> Result<Notification, Malformed> {
        const WITHOUT_PEER_EPOCH: usize = 28;
        const WITHOUT_VERSION: usize = 40;
        let r = &mut Reader::new(payload);
        let state = PeerState::from_i32(r.i32()?).ok_or(Malformed("unknown server state"))?;
        let (leader, zxid, election_epoch) = (ServerId(r.i64()?), r.zxid()?, r.i64()?);
        let peer_epoch = if payload.len() == WITHOUT_PEER_EPOCH { zxid.epoch() } else { r.i64()? };
        let version = match payload.len() {
            WITHOUT_PEER_EPOCH => 0,
            // What stands there is 3.4's version; it was never read.
            WITHOUT_VERSION => 0,
            _ => r.i32()?,
        };
        let mut config = None;
        if version > 1 {
            let bytes = r.buffer()?.ok_or(Malformed("negative length"))?;
            config = (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
        }
        Ok(Notification { state, leader, zxid, election_epoch, peer_epoch, version, config })
    }
}

/// Cuts one notification's payload off the front of `bytes`: it and how many bytes it took with its length; `None`
/// while it is not complete.
///
/// Errors: a length out of 1..=[`NOTIFICATION_BYTES_MAX`] ends the connection.
pub fn cut(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    if bytes.starts_with(&[0; frame::LENGTH_BYTES]) {
        return Err(Malformed("empty notification"));
    }
    frame::cut(bytes, NOTIFICATION_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    fn address(host: &str, port: u16) -> PeerAddress {
        PeerAddress { host: host.into(), port }
    }

    fn golden(preamble: &Preamble, text: &str) {
        let bytes = hex(text);
        assert_eq!(preamble.encode(), bytes, "{preamble:?}");
        let longer = [&bytes[..], b"more"].concat();
        assert_eq!(Preamble::cut(&longer), Ok(Some((preamble.clone(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(Preamble::cut(&bytes[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn preambles_are_apaches_to_the_byte() {
        let (v1, v2) = (PreambleVersion::V1, PreambleVersion::V2);
        let preamble = |version, server, addresses: &[_]| Preamble {
            version,
            server: ServerId(server),
            addresses: addresses.into(),
        };
        golden(&preamble(v1, 3, &[address("h1", 3888)]), "ffffffffffff0000 0000000000000003 00000007 68313a33383838");
        golden(&preamble(v1, -1, &[address("::1", 1)]), "ffffffffffff0000 ffffffffffffffff 00000007 5b3a3a315d3a31");
        golden(
            &preamble(v2, 3, &[address("a", 1), address("fe80::1", 2)]),
            "ffffffffffff0001 0000000000000003 0000000f 613a31 7c 5b666538303a3a315d3a32",
        );
        golden(&preamble(PreambleVersion::Legacy, 3, &[]), "0000000000000003");
        let two = preamble(v1, 3, &[address("h1", 3888), address("h2", 3888)]);
        assert_eq!(two.encode(), preamble(v1, 3, &[address("h1", 3888)]).encode());
    }

    #[test]
    fn wildcards_are_no_addresses() {
        let heard = |version, list: &[(&str, u16)]| {
            let addresses = list.iter().map(|(host, port)| address(host, *port)).collect();
            let preamble = Preamble { version, server: ServerId(1), addresses };
            Preamble::cut(&preamble.encode()).unwrap().unwrap().0.addresses
        };
        assert_eq!(heard(PreambleVersion::V1, &[("0.0.0.0", 3888)]), []);
        assert_eq!(heard(PreambleVersion::V1, &[("::", 3888)]), []);
        assert_eq!(heard(PreambleVersion::V2, &[("0.0.0.0", 1), ("h", 2)]), [address("h", 2)]);
    }

    #[test]
    fn bad_preambles_are_refused_as_soon_as_they_are_seen() {
        let verdict = |text: &str| Preamble::cut(&hex(text));
        assert!(verdict("ffffffffffff0002").is_err());
        assert!(verdict("ffffffffffffffff").is_err());
        assert!(verdict("8000000000000000").is_err());
        for length in ["00000000", "00000801", "7fffffff", "ffffffff", "fffffffe"] {
            assert!(verdict(&format!("ffffffffffff0000 0000000000000003 {length}")).is_err(), "{length}");
        }
        assert_eq!(verdict("ffffffffffff0000 0000000000000003 00000800"), Ok(None));
        for text in
            ["h", "h:", ":1", "h:x", "h:65536", "h:-1", "a:1:2", "::1:2", "[::1:2", "[::1]", "[::1]:", "a:1||b:1", "|"]
        {
            let mut bytes = hex("ffffffffffff0000 0000000000000003");
            Writer(&mut bytes).string(text);
            assert!(Preamble::cut(&bytes).is_err(), "{text}");
        }
        assert!(verdict("ffffffffffff0000 0000000000000003 00000004 ff3a3131").is_err());
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let list = [address("zk-1.example", 3888), address("::1", 1), address("10.0.0.1", 65535)];
        let text = "zk-1.example:3888|[::1]:1|10.0.0.1:65535";
        assert_eq!(addresses_to_text(&list), text);
        assert_eq!(addresses_from_text(text).unwrap(), list);
        assert_eq!(addresses_from_text("h:1|").unwrap(), [address("h", 1)]);
    }

    const HEAD: &str = "00000002 0000000000000003 0000000500000007 0000000000000009";

    fn sample() -> Notification {
        Notification {
            state: PeerState::Leading,
            leader: ServerId(3),
            zxid: Zxid(0x5_0000_0007),
            election_epoch: 9,
            peer_epoch: 6,
            version: 2,
            config: Some("version=0".into()),
        }
    }

    #[test]
    fn a_notification_is_apaches_to_the_byte() {
        let payload = format!("{HEAD} 0000000000000006 00000002 00000009 76657273696f6e3d30");
        let bytes = hex(&format!("00000035 {payload}"));
        assert_eq!(sample().encode(), bytes);
        assert_eq!(Notification { version: 0, ..sample() }.encode(), bytes);
        assert_eq!(Notification::decode(&hex(&payload)), Ok(sample()));
        assert_eq!(Notification::decode(&hex(&format!("{payload} ffff"))), Ok(sample()));
        let without = Notification { config: None, ..sample() };
        assert_eq!(without.encode(), hex(&format!("0000002c {HEAD} 0000000000000006 00000002 00000000")));
        assert_eq!(Notification::decode(&without.encode()[4..]), Ok(without));
        for (code, state) in
            [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing].into_iter().enumerate()
        {
            let bytes = Notification { state, ..sample() }.encode();
            assert_eq!(bytes[4..8], [0, 0, 0, code as u8]);
            assert_eq!(Notification::decode(&bytes[4..]).unwrap().state, state);
        }
    }

    /// Spec: quorum 3, accepted sizes.
    #[test]
    fn old_forms_are_read_and_what_lies_between_is_dropped() {
        let plain = Notification { version: 0, config: None, ..sample() };
        assert_eq!(Notification::decode(&hex(HEAD)), Ok(Notification { peer_epoch: 5, ..plain.clone() }));
        let forty = hex(&format!("{HEAD} 0000000000000006 00000001"));
        assert_eq!(Notification::decode(&forty), Ok(plain.clone()));
        let no_config = hex(&format!("{HEAD} 0000000000000006 00000001 ffffffff"));
        assert_eq!(Notification::decode(&no_config), Ok(Notification { version: 1, ..plain }));
        let full = sample().encode();
        for end in 0..full.len() - 4 {
            assert_eq!(Notification::decode(&full[4..4 + end]).is_ok(), end == 28 || end == 40, "{end} bytes");
        }
        for length in ["0000000a", "ffffffff", "80000000", "7fffffff"] {
            let bytes = hex(&format!("{HEAD} 0000000000000006 00000002 {length} 76657273696f6e3d30"));
            assert!(Notification::decode(&bytes).is_err(), "{length}");
        }
        let mut unknown = full[4..].to_vec();
        unknown[3] = 4;
        assert!(Notification::decode(&unknown).is_err());
    }

    #[test]
    fn frames_have_a_length_of_one_to_512_kib() {
        let bytes = sample().encode();
        assert_eq!(cut(&bytes), Ok(Some((&bytes[4..], bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(cut(&bytes[..end]), Ok(None));
        }
        assert_eq!(cut(&hex("00080000")), Ok(None));
        assert!(cut(&hex("00080001")).is_err() && cut(&hex("00000000 01")).is_err() && cut(&hex("ffffffff")).is_err());
    }
}
