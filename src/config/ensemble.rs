//! The members of an ensemble: `server.N`, `group.G`, `weight.N`, from zoo.cfg or the dynamic file (CF-80 to CF-99).
//!
//! Parsed and judged completely before anything is started.
//! ZK: QuorumPeer.QuorumServer, QuorumPeerConfig.parseDynamicConfig, QuorumHierarchical.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrorKind, ConfigNotice, NoticeLevel, Place};
use super::value;

/// What a member does in a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

impl Role {
    pub(super) fn parse(text: &str) -> Option<Role> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Some(Role::Participant),
            "observer" => Some(Role::Observer),
            _ => None,
        }
    }
}

/// A host as written (name, IPv4, or IPv6 without its brackets) and a port; resolved when it is dialled or bound (RT-87).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// One address of a member: where it talks Zab and where it elects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: i64,
    /// At least one; several only with `multiAddress.enabled`.
    pub addresses: Vec<MemberAddress>,
    pub role: Role,
    /// Client listener named on the line.
    pub client: Option<HostPort>,
    /// TLS client listener named on the line.
    pub secure_client: Option<HostPort>,
    pub place: Place,
}

/// A list of members that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// From `<dataDir>/myid`.
    pub my_id: i64,
    pub members: BTreeMap<i64, Member>,
    /// Group of each voter; empty = plain majority.
    pub groups: BTreeMap<i64, i64>,
    /// Weights that were written; others are 1.
    pub weights: BTreeMap<i64, i64>,
    /// Version of the list: the hexadecimal suffix of the dynamic file's name, 0 without one (CF-88).
    pub version: i64,
    /// The dynamic file, where there is one.
    pub dynamic_config_file: Option<PathBuf>,
}

/// What the member lines say before it is known whether they make an ensemble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberLines {
    pub members: BTreeMap<i64, Member>,
    pub groups: BTreeMap<i64, i64>,
    pub weights: BTreeMap<i64, i64>,
    pub hierarchical: bool,
    /// Where the first of them stands.
    pub first_place: Option<Place>,
}

const SERVER_FORM: &str =
    "write server.N=host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort]";

impl MemberLines {
    /// Takes one line if it is one of these three kinds; `false` if it is another key.
    pub fn take(&mut self, key: &str, text: &str, multi_address: bool, place: &Place) -> Result<bool, ConfigError> {
        if key.starts_with("server.") {
            let member = parse_member(suffix_number(key, place)?, text, multi_address, place)?;
            self.members.insert(member.id, member);
        } else if key.starts_with("group") {
            self.take_group(key, text, place)?;
        } else if key.starts_with("weight") {
            let id = suffix_number(key, place)?;
            let weight = value::parse_long(text).ok_or_else(|| {
                bad(place, format!("{key}={text} is not a whole number"), "write a weight, for example weight.1=1")
            })?;
            self.weights.insert(id, weight);
            self.hierarchical = true;
        } else {
            return Ok(false);
        }
        self.first_place.get_or_insert_with(|| place.clone());
        Ok(true)
    }

    fn take_group(&mut self, key: &str, text: &str, place: &Place) -> Result<(), ConfigError> {
        let group = suffix_number(key, place)?;
        for id in text.split(':') {
            let id = value::parse_long(id).ok_or_else(|| {
                bad(
                    place,
                    format!("{key}={text}: {id:?} is not a server id"),
                    "write ids with colons between, for example group.1=1:2:3",
                )
            })?;
            if self.groups.insert(id, group).is_some_and(|other| other != group) {
                return Err(bad(
                    place,
                    format!("server {id} is in more than one group"),
                    "put each server in exactly one group",
                ));
            }
        }
        self.hierarchical = true;
        Ok(())
    }

    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.role == Role::Participant)
    }

    /// Is this an ensemble (CF-07)? Errors where the lines make neither an ensemble nor a standalone server (CF-08).
    pub fn is_ensemble(&self, standalone_enabled: bool, notices: &mut Vec<ConfigNotice>) -> Result<bool, ConfigError> {
        let voters = self.voters().count();
        let observers = self.members.len() - voters;
        let place = self.first_place.clone();
        let refuse = |problem: &str, remedy: &str| {
            Err(ConfigError::new(ConfigErrorKind::Contradiction, place.clone(), problem, remedy))
        };
        self.judge_groups()?;
        match voters {
            0 if !standalone_enabled => refuse(
                "standaloneEnabled=false but no participant is listed",
                "add server.N lines, or remove standaloneEnabled=false",
            ),
            0 if observers > 0 => {
                refuse("observers without a participant cannot form an ensemble", "list at least one participant")
            }
            0 => Ok(false),
            1 if standalone_enabled && observers > 0 => refuse(
                "observers need a quorum, but only one participant is listed",
                "list more participants, or set standaloneEnabled=false",
            ),
            1 if standalone_enabled => {
                notices.push(warning(
                    place,
                    "only one server is listed: the line is ignored and the server runs standalone",
                ));
                Ok(false)
            }
            _ => {
                let text = match voters {
                    1 | 2 => Some("with fewer than three participants no failure is tolerated; list at least three"),
                    even if even % 2 == 0 => Some(
                        "an even number of participants tolerates no more failures than one less; prefer an odd number",
                    ),
                    _ => None,
                };
                notices.extend(text.map(|text| warning(place, text)));
                Ok(true)
            }
        }
    }

    fn judge_groups(&self) -> Result<(), ConfigError> {
        if !self.hierarchical {
            return Ok(());
        }
        if let Some(member) = self.voters().find(|member| !self.groups.contains_key(&member.id)) {
            let problem = format!("server {} is in no group, but groups or weights are used", member.id);
            return Err(bad(&member.place, problem, "name every participant in exactly one group.G line"));
        }
        if let Some(id) = self.groups.keys().find(|id| !self.members.contains_key(id)) {
            let place = self.first_place.clone();
            let problem = format!("a group names server {id}, which is not listed");
            return Err(ConfigError::new(
                ConfigErrorKind::Contradiction,
                place,
                problem,
                format!("add server.{id}=... or take it out of the group"),
            ));
        }
        Ok(())
    }
}

/// The version a dynamic file's name carries: `zoo.cfg.dynamic.1a` is 0x1a; `None` without one.
pub(super) fn version_of_file_name(name: &str) -> Option<i64> {
    i64::from_str_radix(name.rsplit_once('.')?.1, 16).ok()
}

fn parse_member(id: i64, text: &str, multi_address: bool, place: &Place) -> Result<Member, ConfigError> {
    // Java's split drops trailing empty parts: "a;2181;" is "a;2181".
    let parts: Vec<&str> = text.trim_end_matches(';').split(';').collect();
    if parts.len() > 3 {
        return Err(bad(place, format!("server.{id}={text} has more than three parts"), SERVER_FORM));
    }
    let listener = |index: usize| match parts.get(index) {
        Some(part) if !part.is_empty() => parse_listener(id, part, place).map(Some),
        _ => Ok(None),
    };
    let (client, secure_client) = (listener(1)?, listener(2)?);
    let written: Vec<&str> = parts[0].split('|').collect();
    if written.len() > 1 && !multi_address {
        return Err(bad(
            place,
            format!("server.{id} lists several addresses"),
            "set multiAddress.enabled=true, or list one",
        ));
    }
    let mut addresses = Vec::new();
    let mut role = None;
    for address in written {
        let (address, its_role) = parse_address(id, address, place)?;
        if let Some(its_role) = its_role
            && *role.get_or_insert(its_role) != its_role
        {
            return Err(bad(
                place,
                format!("the addresses of server.{id} have different roles"),
                "give all of them the same role",
            ));
        }
        addresses.push(address);
    }
    Ok(Member { id, addresses, role: role.unwrap_or(Role::Participant), client, secure_client, place: place.clone() })
}

fn parse_address(id: i64, text: &str, place: &Place) -> Result<(MemberAddress, Option<Role>), ConfigError> {
    let fields = split_host(text)
        .ok_or_else(|| bad(place, format!("server.{id}: {text:?} has a bracket without its pair"), SERVER_FORM))?;
    if fields.len() < 3 || fields.len() > 4 || fields[0].is_empty() {
        return Err(bad(place, format!("server.{id}: {text:?} is not host:quorumPort:electionPort"), SERVER_FORM));
    }
    let quorum_port = parse_port(&format!("server.{id}"), fields[1], place)?;
    let election_port = parse_port(&format!("server.{id}"), fields[2], place)?;
    if quorum_port == election_port {
        let problem = format!("server.{id} uses port {quorum_port} for quorum and for election");
        return Err(bad(place, problem, "give it two different ports, by convention 2888 and 3888"));
    }
    let role = match fields.get(3) {
        None => None,
        Some(text) => Some(Role::parse(text).ok_or_else(|| {
            bad(place, format!("server.{id}: {text:?} is not a role"), "write participant or observer")
        })?),
    };
    Ok((MemberAddress { host: fields[0].to_owned(), quorum_port, election_port }, role))
}

fn parse_listener(id: i64, text: &str, place: &Place) -> Result<HostPort, ConfigError> {
    let refuse = || bad(place, format!("server.{id}: {text:?} is not [clientHost:]clientPort"), SERVER_FORM);
    let fields = split_host(text).ok_or_else(refuse)?;
    let (host, port) = match fields.as_slice() {
        [port] => ("0.0.0.0", *port),
        [host, port] => (*host, *port),
        _ => return Err(refuse()),
    };
    Ok(HostPort { host: host.to_owned(), port: parse_port(&format!("server.{id}"), port, place)? })
}

/// Splits at colons, except inside the brackets of a leading IPv6 address; `None` for an unpaired bracket.
fn split_host(text: &str) -> Option<Vec<&str>> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some(text.trim_end_matches(':').split(':').collect());
    };
    let (host, rest) = rest.split_once(']')?;
    let mut fields = vec![host];
    fields.extend(rest.strip_prefix(':')?.split(':'));
    Some(fields)
}

/// A port number, 0 to 65535.
pub(super) fn parse_port(key: &str, text: &str, place: &Place) -> Result<u16, ConfigError> {
    value::parse_long(text)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| bad(place, format!("{key}: {text:?} is not a port"), "write a number from 0 to 65535"))
}

fn suffix_number(key: &str, place: &Place) -> Result<i64, ConfigError> {
    let suffix = key.split_once('.').map_or("", |(_, suffix)| suffix);
    value::parse_long(suffix).ok_or_else(|| {
        bad(place, format!("{key}: {suffix:?} is not a number"), "write the id after the dot, for example server.1")
    })
}

fn bad(place: &Place, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Value, place.clone(), problem, remedy)
}

fn warning(place: Option<Place>, text: &str) -> ConfigNotice {
    ConfigNotice { level: NoticeLevel::Warning, place, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::Line { file: "zoo.cfg".into(), line: 4 }
    }

    fn lines(text: &str) -> Result<MemberLines, ConfigError> {
        let mut lines = MemberLines::default();
        for line in text.split(' ').filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').unwrap();
            assert!(lines.take(key, value, false, &place())?);
        }
        Ok(lines)
    }

    fn member(text: &str) -> Member {
        parse_member(1, text, true, &place()).unwrap()
    }

    #[test]
    fn every_form_of_a_server_line_is_read() {
        let plain = member("zk1:2888:3888");
        assert_eq!(plain.addresses, vec![MemberAddress { host: "zk1".into(), quorum_port: 2888, election_port: 3888 }]);
        assert_eq!((plain.role, plain.client, plain.secure_client), (Role::Participant, None, None));

        let full = member("h:1:2:OBSERVER;c:2181;s:2281");
        assert_eq!(full.role, Role::Observer);
        assert_eq!(full.client, Some(HostPort { host: "c".into(), port: 2181 }));
        assert_eq!(full.secure_client, Some(HostPort { host: "s".into(), port: 2281 }));

        assert_eq!(member("h:1:2;2181").client, Some(HostPort { host: "0.0.0.0".into(), port: 2181 }));
        let secure_only = member("h:1:2;;2281");
        assert_eq!((secure_only.client, secure_only.secure_client.map(|at| at.port)), (None, Some(2281)));

        let v6 = member("[2001:db8::1]:2888:3888;[::]:2181");
        assert_eq!(v6.addresses[0].host, "2001:db8::1");
        assert_eq!(v6.client, Some(HostPort { host: "::".into(), port: 2181 }));

        assert_eq!(member("a:1:2:observer|b:3:4:observer").addresses.len(), 2);
    }

    #[test]
    fn wrong_server_lines_say_what_would_be_right() {
        for (text, part) in [
            ("h:1", "not host:quorumPort:electionPort"),
            ("h:1:2:boss", "\"boss\" is not a role"),
            ("h:1:1", "for quorum and for election"),
            ("h:x:2", "\"x\" is not a port"),
            ("h:1:70000", "\"70000\" is not a port"),
            ("[::1:1:2", "bracket"),
            ("h:1:2;a:b:c", "[clientHost:]clientPort"),
            ("h:1:2;1;2;3", "more than three parts"),
            ("a:1:2:observer|b:3:4:participant", "different roles"),
            ("", "not host"),
        ] {
            let error = parse_member(1, text, true, &place()).unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("zoo.cfg:4: "), "{text}: {error}");
        }
        let several = parse_member(1, "a:1:2|b:3:4", false, &place()).unwrap_err().to_string();
        assert!(several.contains("multiAddress.enabled=true"), "{several}");
    }

    #[test]
    fn what_is_an_ensemble_follows_cf_07_and_cf_08() {
        let one = "server.1=a:1:2";
        let two = "server.1=a:1:2 server.2=b:1:2";
        let observer = "server.9=o:1:2:observer";
        for (text, standalone_enabled, expected) in [
            ("", true, Ok(false)),
            (one, true, Ok(false)),
            (one, false, Ok(true)),
            (two, true, Ok(true)),
            (&format!("{two} {observer}"), true, Ok(true)),
            (&format!("{one} {observer}"), true, Err("observers need a quorum")),
            (&format!("{one} {observer}"), false, Ok(true)),
            (observer, true, Err("observers without a participant")),
            ("", false, Err("no participant is listed")),
        ] {
            let judged = lines(text).unwrap().is_ensemble(standalone_enabled, &mut Vec::new());
            match (judged, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (found, _) => panic!("{text} {standalone_enabled}: {found:?}"),
            }
        }
    }

    #[test]
    fn groups_must_be_disjoint_and_cover_every_voter() {
        let three = "server.1=a:1:2 server.2=b:1:2 server.3=c:1:2";
        for (more, part) in [
            ("group.1=1:2", "server 3 is in no group"),
            ("group.1=1:2 group.2=2:3", "more than one group"),
            ("group.1=1:x", "\"x\" is not a server id"),
            ("group=1", "is not a number"),
            ("weight.1=heavy", "not a whole number"),
            ("weight.1=2", "is in no group"),
            ("group.1=1:2:3:4", "server 4, which is not listed"),
            ("server.x=a:1:2", "\"x\" is not a number"),
        ] {
            let error = lines(&format!("{three} {more}"))
                .and_then(|lines| lines.is_ensemble(true, &mut Vec::new()))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{more}: {error}");
        }
        let whole = lines(&format!("{three} group.1=1:2 group.2=3 weight.3=0")).unwrap();
        assert!(whole.is_ensemble(true, &mut Vec::new()).unwrap());
        assert_eq!(whole.weights[&3], 0);
    }

    #[test]
    fn file_names_carry_versions() {
        assert_eq!(version_of_file_name("zoo.cfg.dynamic.1a"), Some(0x1a));
        assert_eq!(version_of_file_name("/x/zoo.cfg.dynamic"), None);
        assert_eq!(version_of_file_name("plain"), None);
    }
}
