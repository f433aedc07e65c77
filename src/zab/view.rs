//! Who is in the ensemble: members, roles, groups and weights, as the configuration has them.
//!
//! A view is also a text (`view_text.rs`): it travels in every notification of an election and is the data of
//! `/zookeeper/config`. ZK: QuorumVerifier, QuorumPeer.QuorumServer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{PeerAddress, ServerId};

/// One address of a member: where it speaks Zab and where it elects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberAddress {
    /// Name, IPv4, or IPv6 without its brackets.
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
}

/// One `server.N` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: ServerId,
    /// At least one; several only with `multiAddress.enabled`.
    pub addresses: Vec<MemberAddress>,
    pub observer: bool,
    /// The client listener named on the line, `host:port` as it is printed behind the `;`.
    pub client: Option<String>,
}

impl Member {
    /// Where the member's election port is, one or several.
    pub fn election_addresses(&self) -> Vec<PeerAddress> {
        self.addresses.iter().map(|at| PeerAddress { host: at.host.clone(), port: at.election_port }).collect()
    }

    /// Where the member's quorum port is, one or several.
    pub fn quorum_addresses(&self) -> Vec<PeerAddress> {
        self.addresses.iter().map(|at| PeerAddress { host: at.host.clone(), port: at.quorum_port }).collect()
    }

    /// Id, role and addresses, whatever their order and however an IP address is written. The client listener is
    /// left out: two Java servers print it differently for the same member, depending on where it was configured.
    fn same_as(&self, other: &Member) -> bool {
        self.id == other.id
            && self.observer == other.observer
            && self.comparable_addresses() == other.comparable_addresses()
    }

    fn comparable_addresses(&self) -> BTreeSet<(String, u16, u16)> {
        self.addresses.iter().map(|at| (comparable_host(&at.host), at.quorum_port, at.election_port)).collect()
    }
}

/// One spelling for each host: Java writes IPv6 literals out in full, and names have no case.
fn comparable_host(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// The ensemble as one configuration describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    pub members: BTreeMap<ServerId, Member>,
    /// Group of each server; empty = plain majority.
    pub groups: BTreeMap<ServerId, i64>,
    /// Weights that were written. Others weigh 1, observers nothing.
    pub weights: BTreeMap<ServerId, i64>,
    /// The zxid of the reconfiguration that made it; 0 = the first.
    pub version: i64,
}

impl View {
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|member| !member.observer)
    }

    pub fn is_hierarchical(&self) -> bool {
        !self.groups.is_empty()
    }

    /// In ascending order of id.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.values().filter(|member| !member.observer).map(|member| member.id)
    }

    /// In ascending order of id.
    pub fn observers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.values().filter(|member| member.observer).map(|member| member.id)
    }

    /// What a server's vote weighs: 1 in a majority system, the written weight or 1 in a hierarchical one; 0 for
    /// whoever does not vote. A server of weight 0 is never elected.
    pub fn weight(&self, id: ServerId) -> i64 {
        match self.weights.get(&id) {
            Some(weight) if self.is_hierarchical() => *weight,
            _ => i64::from(self.is_voter(id)),
        }
    }

    /// Whether both describe the same ensemble. As the reference has it: an equal version is enough.
    /// Source: QuorumMaj.equals, QuorumHierarchical.equals.
    pub fn same_as(&self, other: &View) -> bool {
        self.version == other.version || self.same_members(other)
    }

    /// As [`View::same_as`], whatever the versions say.
    pub fn same_members(&self, other: &View) -> bool {
        self.members.len() == other.members.len()
            && self.members.values().zip(other.members.values()).all(|(a, b)| a.same_as(b))
            && self.groups == other.groups
            && self.voters().all(|id| self.weight(id) == other.weight(id))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A view from `server.N` roles alone: `voters` and `observers` at invented addresses.
    pub(crate) fn view_of(voters: &[i64], observers: &[i64]) -> View {
        let member = |id: &i64, observer| {
            let port = 2000 + *id as u16;
            let address =
                MemberAddress { host: format!("zk{id}"), quorum_port: port, election_port: port.wrapping_add(1000) };
            (ServerId(*id), Member { id: ServerId(*id), addresses: vec![address], observer, client: None })
        };
        let members =
            voters.iter().map(|id| member(id, false)).chain(observers.iter().map(|id| member(id, true))).collect();
        View { members, ..View::default() }
    }

    #[test]
    fn observers_are_members_without_a_vote_or_a_weight() {
        let view = view_of(&[1, 2], &[7]);
        assert_eq!(view.voters().collect::<Vec<_>>(), [ServerId(1), ServerId(2)]);
        assert_eq!(view.observers().collect::<Vec<_>>(), [ServerId(7)]);
        assert!(view.is_voter(ServerId(1)) && !view.is_voter(ServerId(7)) && !view.is_voter(ServerId(9)));
        assert_eq!([1, 7, 9].map(|id| view.weight(ServerId(id))), [1, 0, 0]);
    }

    #[test]
    fn a_weight_without_groups_changes_nothing() {
        let mut view = view_of(&[1, 2], &[]);
        view.weights.insert(ServerId(1), 0);
        assert_eq!(view.weight(ServerId(1)), 1);
        view.groups = [(ServerId(1), 1), (ServerId(2), 1)].into();
        assert_eq!((view.weight(ServerId(1)), view.weight(ServerId(2))), (0, 1));
    }

    #[test]
    fn views_are_the_same_by_version_or_by_members() {
        let view = view_of(&[1, 2, 3], &[4]);
        let mut other = view_of(&[1, 2], &[]);
        assert!(view.same_as(&other), "equal versions are enough");
        assert!(!view.same_members(&other));
        other.version = 5;
        assert!(!view.same_as(&other));

        let mut spelled = View { version: 5, ..view.clone() };
        spelled.members.get_mut(&ServerId(1)).unwrap().addresses[0].host = "ZK1".into();
        assert!(view.same_as(&spelled), "host names have no case");
        spelled.members.get_mut(&ServerId(1)).unwrap().addresses[0].election_port = 1;
        assert!(!view.same_as(&spelled));
        let promoted = View { version: 5, ..view_of(&[1, 2, 3, 4], &[]) };
        assert!(!view.same_as(&promoted), "a role is part of a member");
    }

    #[test]
    fn an_ip_address_is_the_same_however_it_is_written() {
        assert_eq!(comparable_host("0:0:0:0:0:0:0:1"), comparable_host("::1"));
        assert_ne!(comparable_host("10.0.0.1"), comparable_host("10.0.0.2"));
    }
}
