//! A view as text, both ways: `server.1=host:2888:3888:participant;0.0.0.0:2181` and so on, one key a line.
//!
//! Read as Java's `Properties` read it (any order of keys, comments, escapes, continued lines), because a peer's
//! text was made by whatever release it runs; written with sorted keys. A text comes from the network: every fault
//! is an `Err` that says where. ZK: QuorumMaj.toString, QuorumPeer.QuorumServer, QuorumPeerConfig.parseDynamicConfig.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::view::{Member, MemberAddress, View};
use crate::base::ServerId;

impl View {
    /// The text, without a newline at its end. The third `;` field (TLS client port) is never written: releases up to
    /// 3.9 refuse the whole text for it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for member in self.members.values() {
            let _ = writeln!(text, "server.{}={}", member.id, member_text(member));
        }
        let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (id, group) in &self.groups {
            groups.entry(*group).or_default().push(id.to_string());
        }
        for (group, ids) in groups {
            let _ = writeln!(text, "group.{group}={}", ids.join(":"));
        }
        if self.is_hierarchical() {
            let written = |id: &ServerId| self.is_voter(*id) || self.weights.contains_key(id);
            for id in self.members.keys().filter(|id| written(id)) {
                let _ = writeln!(text, "weight.{id}={}", self.weight(*id));
            }
        }
        let _ = write!(text, "version={:x}", self.version);
        text
    }

    /// Errors: a key that is none of ours, a value that is not of its form, a voter without a group where there are
    /// groups, no voter at all. The reference ignores such a text, and so should the caller.
    pub fn parse(text: &str) -> Result<View, String> {
        let mut view = View::default();
        let mut weighed = false;
        for (key, value) in properties(text)? {
            let value = value.trim();
            if let Some(id) = key.strip_prefix("server.") {
                let member = parse_member(ServerId(number(&key, id)?), value)?;
                view.members.insert(member.id, member);
            } else if let Some(group) = key.strip_prefix("group.") {
                let group = number(&key, group)?;
                for id in value.split(':') {
                    if view.groups.insert(ServerId(number(&key, id)?), group).is_some() {
                        return Err(format!("server {id} is in several groups"));
                    }
                }
            } else if let Some(id) = key.strip_prefix("weight.") {
                weighed = true;
                let weight: i64 = number(&key, value)?;
                if weight < 0 {
                    return Err(format!("{key}: a weight below 0"));
                }
                view.weights.insert(ServerId(number(&key, id)?), weight);
            } else if key == "version" {
                view.version = i64::from_str_radix(value, 16).map_err(|_| format!("version={value}: not a number"))?;
            } else {
                return Err(format!("{key}: not a key of a view"));
            }
        }
        if view.voters().next().is_none() {
            return Err("no participant".to_owned());
        }
        if weighed || view.is_hierarchical() {
            if let Some(id) = view.voters().find(|id| !view.groups.contains_key(id)) {
                return Err(format!("server {id} is in no group"));
            }
        }
        Ok(view)
    }
}

fn member_text(member: &Member) -> String {
    let mut addresses: Vec<&MemberAddress> = member.addresses.iter().collect();
    addresses.sort();
    let addresses: Vec<String> =
        addresses.iter().map(|at| format!("{}:{}:{}", bracketed(&at.host), at.quorum_port, at.election_port)).collect();
    let role = if member.observer { "observer" } else { "participant" };
    let client = member.client.as_ref().map(|client| format!(";{client}")).unwrap_or_default();
    format!("{}:{role}{client}", addresses.join("|"))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn parse_member(id: ServerId, text: &str) -> Result<Member, String> {
    // Java's split drops what is empty at the end: "a;2181;" is "a;2181".
    let mut parts = text.trim_end_matches(';').split(';');
    let (servers, client) = (parts.next().unwrap_or_default(), parts.next());
    // A third part is a TLS client port, which newer releases write; it says nothing about agreement.
    if parts.nth(1).is_some() {
        return Err(format!("server.{id}={text}: more than three parts"));
    }
    let mut addresses = Vec::new();
    let mut observer = None;
    for server in servers.split('|') {
        let (host, rest) = split_host(server).ok_or_else(|| format!("server.{id}: {server:?} has no ports"))?;
        let mut fields = rest.split(':');
        let mut port = || fields.next().and_then(|port| port.parse::<u16>().ok());
        let (Some(quorum_port), Some(election_port)) = (port(), port()) else {
            return Err(format!("server.{id}: {server:?} is not host:quorumPort:electionPort"));
        };
        let role = match fields.next().map(|role| role.trim().to_ascii_lowercase()) {
            None => None,
            Some(role) if role == "participant" => Some(false),
            Some(role) if role == "observer" => Some(true),
            Some(role) => return Err(format!("server.{id}: {role:?} is not a role")),
        };
        if fields.next().is_some() || host.is_empty() || quorum_port == election_port {
            return Err(format!("server.{id}: {server:?} is not host:quorumPort:electionPort"));
        }
        if role.is_some() && observer.is_some() && role != observer {
            return Err(format!("server.{id}: addresses of different roles"));
        }
        observer = observer.or(role);
        addresses.push(MemberAddress { host: host.to_owned(), quorum_port, election_port });
    }
    let client = match client {
        None | Some("") => None,
        Some(client) => Some(parse_client(id, client)?),
    };
    Ok(Member { id, addresses, observer: observer.unwrap_or(false), client })
}

/// `port` or `host:port`; a port alone is one of every address.
fn parse_client(id: ServerId, text: &str) -> Result<String, String> {
    let (host, port) = split_host(text).unwrap_or(("0.0.0.0", text));
    match port.parse::<u16>() {
        Ok(port) => Ok(format!("{}:{port}", bracketed(host))),
        Err(_) => Err(format!("server.{id}: {text:?} is not [clientHost:]clientPort")),
    }
}

/// A host and what stands behind its colon; an IPv6 address is in brackets. `None` without a colon.
pub(super) fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            Some((host, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

fn number(key: &str, text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{key}: {text:?} is not a number"))
}

/// Keys and values of a text of Java's `Properties`; of a key written twice the last value counts.
fn properties(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for line in logical_lines(text) {
        let mut chars = line.chars();
        let mut key = String::new();
        let separator = loop {
            match chars.next() {
                None => break None,
                Some('\\') => key.push(unescape(&mut chars)?),
                Some(c @ ('=' | ':' | ' ' | '\t' | '\u{c}')) => break Some(c),
                Some(c) => key.push(c),
            }
        };
        let mut rest = chars.as_str().trim_start_matches(BLANKS);
        if !matches!(separator, Some('=' | ':')) {
            rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS);
        }
        let mut chars = rest.chars();
        let mut value = String::new();
        while let Some(c) = chars.next() {
            value.push(if c == '\\' { unescape(&mut chars)? } else { c });
        }
        found.insert(key, value);
    }
    Ok(found)
}

const BLANKS: &[char] = &[' ', '\t', '\u{c}'];

/// Lines without comments and blank ones, those that end in an odd number of backslashes joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continued = false;
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches(BLANKS);
        if !continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let open = backslashes % 2 == 1;
        let body = if open { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some(last) if continued => last.push_str(body),
            _ => lines.push(body.to_owned()),
        }
        continued = open;
    }
    lines
}

fn unescape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    Ok(match chars.next() {
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\u{c}',
        Some('u') => {
            let digits: String = chars.take(4).collect();
            if digits.len() != 4 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(format!("\\u{digits}: not a character"));
            }
            let code = u32::from_str_radix(&digits, 16).expect("four hexadecimal digits");
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(c) => c,
        None => return Err("a backslash escapes nothing".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::view_of;
    use super::*;

    /// The keys of a Java server's text, in its hash order.
    const JAVA: &str = "server.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n\
                        server.1=zk1:2888:3888:participant\n\
                        server.3=[2001:db8:0:0:0:0:0:3]:2888:3888:observer;[0:0:0:0:0:0:0:0]:2181\n\
                        version=100000000";

    #[test]
    fn a_java_servers_text_is_read() {
        let view = View::parse(JAVA).unwrap();
        assert_eq!(view.version, 0x1_0000_0000);
        assert_eq!(view.voters().collect::<Vec<_>>(), [ServerId(1), ServerId(2)]);
        assert_eq!(view.members[&ServerId(2)].client.as_deref(), Some("0.0.0.0:2181"));
        let third = &view.members[&ServerId(3)];
        assert!(third.observer);
        assert_eq!(third.addresses[0].host, "2001:db8:0:0:0:0:0:3");
        assert_eq!(third.client.as_deref(), Some("[0:0:0:0:0:0:0:0]:2181"));
    }

    #[test]
    fn a_text_is_written_as_the_reference_writes_it_but_sorted() {
        let view = View::parse(JAVA).unwrap();
        assert_eq!(
            view.to_text(),
            "server.1=zk1:2888:3888:participant\n\
             server.2=10.0.0.2:2888:3888:participant;0.0.0.0:2181\n\
             server.3=[2001:db8:0:0:0:0:0:3]:2888:3888:observer;[0:0:0:0:0:0:0:0]:2181\n\
             version=100000000"
        );
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut view = view_of(&[1, 2, 3, 4], &[9]);
        view.groups = [(1, 1), (2, 1), (3, 2), (4, 2)].map(|(id, group)| (ServerId(id), group)).into();
        view.weights = [(1, 1), (2, 3), (3, 0), (4, 1)].map(|(id, weight)| (ServerId(id), weight)).into();
        view.version = -1;
        view.members.get_mut(&ServerId(2)).unwrap().addresses.push(MemberAddress {
            host: "::2".into(),
            quorum_port: 5,
            election_port: 6,
        });
        let text = view.to_text();
        assert!(text.contains("group.1=1:2\ngroup.2=3:4\nweight.1=1\nweight.2=3\nweight.3=0\nweight.4=1\n"), "{text}");
        assert!(text.contains("server.2=[::2]:5:6|zk2:2002:3002:participant\n"), "{text}");
        assert!(text.ends_with("version=ffffffffffffffff"));
        // Java reads its version signed and would refuse this one, too; every real version is positive.
        assert!(View::parse(&text).is_err());
        let view = View { version: 0x7, ..view };
        let read = View::parse(&view.to_text()).unwrap();
        assert!(read.same_members(&view));
        assert_eq!((read.version, &read.groups, &read.weights), (7, &view.groups, &view.weights));
    }

    #[test]
    fn the_forms_of_javas_properties_are_read() {
        let text = "# a comment\r\n! another\n\n  server.1 : a\\:1\\:2\nserver.2=b:\\\n   3:4:PARTICIPANT\n\
                    server.1=c:1:2\nserver.\\u0033\\=x:5:6";
        // The escaped `=` belongs to the key, which then is no number.
        assert_eq!(View::parse(text).unwrap_err(), "server.3=x: \"3=x\" is not a number");
        let view = View::parse(&text.replace("\\=x:", "=x:")).unwrap();
        assert_eq!(view.members.len(), 3);
        assert_eq!(view.members[&ServerId(1)].addresses[0].host, "c", "the last of two lines counts");
        assert_eq!(view.members[&ServerId(2)].addresses[0].election_port, 4);
        assert_eq!(view.members[&ServerId(3)].addresses[0].quorum_port, 5);
    }

    #[test]
    fn a_tls_client_port_is_passed_over_and_never_written() {
        let view = View::parse("server.1=a:1:2:participant;h:2181;h:2281\nserver.2=b:1:2;;2281").unwrap();
        assert_eq!(view.members[&ServerId(1)].client.as_deref(), Some("h:2181"));
        assert_eq!(view.members[&ServerId(2)].client, None);
        assert!(!view.to_text().contains("2281"));
    }

    #[test]
    fn a_wrong_text_says_what_is_wrong() {
        for (text, part) in [
            ("", "no participant"),
            ("server.1=a:1:2:observer", "no participant"),
            ("server.x=a:1:2", "\"x\" is not a number"),
            ("server.1=a", "has no ports"),
            ("server.1=a:1", "not host:quorumPort:electionPort"),
            ("server.1=a:1:1", "not host:quorumPort:electionPort"),
            ("server.1=:1:2", "not host:quorumPort:electionPort"),
            ("server.1=a:1:2:boss", "\"boss\" is not a role"),
            ("server.1=a:1:2:observer|b:1:2:participant", "different roles"),
            ("server.1=a:1:2;x", "not [clientHost:]clientPort"),
            ("server.1=a:1:2;1;2;3", "more than three parts"),
            ("server.1=a:1:2\nversion=xyz", "version=xyz"),
            ("server.1=a:1:2\nclientPort=5", "not a key of a view"),
            ("server.1=a:1:2\ngroup.1=1:1", "several groups"),
            ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "server 2 is in no group"),
            ("server.1=a:1:2\nweight.1=2", "in no group"),
            ("server.1=a:1:2\ngroup.1=1\nweight.1=-2", "below 0"),
            ("server.1=\\u12", "not a character"),
        ] {
            let error = View::parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
