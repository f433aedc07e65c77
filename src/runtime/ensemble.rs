//! From the configuration of a member to what its replica and its driver need. A pure translation.

use std::sync::Arc;

use super::peers::PeerListen;
use super::serve::PeerSetup;
use crate::base::{PeerAddress, ServerId};
use crate::config::ensemble::HostPort;
use crate::config::{Config, EnsembleConfig, Role};
use crate::replica::{EnsembleSettings, PeerPort};
use crate::zab::ElectionSettings;
use crate::zab::{Member, MemberAddress, View};

/// What the replica of a member must be told; `None` for a standalone server.
pub fn ensemble_settings(config: &Config) -> Option<EnsembleSettings> {
    let ensemble = config.ensemble.as_ref()?;
    let quorum = &config.quorum;
    let ticks = |ticks: u32| u64::from(ticks);
    let tick_ms = u64::from(config.client.tick_time_ms);
    let connect_limit = match quorum.connect_to_learner_master_limit_ticks {
        0 => quorum.init_limit_ticks,
        set => set,
    };
    let view = view(ensemble);
    let me = ServerId(ensemble.my_id);
    Some(EnsembleSettings {
        me,
        observer: !view.is_voter(me),
        view: Arc::new(view),
        tick_ms,
        init_limit_ticks: ticks(quorum.init_limit_ticks),
        sync_limit_ticks: ticks(quorum.sync_limit_ticks),
        connect_limit_ticks: ticks(connect_limit),
        leader_connect_delay_ms: u64::from(quorum.leader_connect_delay_during_retry_ms),
        cnx_timeout_ms: u64::from(quorum.cnx_timeout_ms),
        preamble_timeout_ms: quorum.quorum_cnxn_timeout_ms.map_or(tick_ms * ticks(quorum.sync_limit_ticks), u64::from),
        election: ElectionSettings {
            notification_interval_min_ms: u64::from(quorum.min_notification_interval_ms),
            notification_interval_max_ms: u64::from(quorum.max_notification_interval_ms),
            has_oracle: quorum.oracle_path.is_some(),
            ..ElectionSettings::default()
        },
        epoch_wait_ms_max: quorum.max_time_to_wait_for_epoch_ms.map(u64::from),
        leader_serves: quorum.leader_serves,
        local_sessions: quorum.local_sessions_enabled,
        local_sessions_upgrading: quorum.local_sessions_upgrading_enabled,
        read_only_mode: quorum.read_only_mode,
        commit_log_count: quorum.commit_log_count as usize,
        snapshot_size_factor: quorum.snapshot_size_factor,
        force_snapshot_sync: quorum.force_snapshot_sync,
        snap_syncs_max: quorum.max_concurrent_snap_syncs as usize,
        diff_syncs_max: quorum.max_concurrent_diff_syncs as usize,
        observers_sync: quorum.sync_enabled,
        observer_reconnect_delay_ms: quorum.observer_reconnect_delay_ms,
        observer_election_delay_ms: quorum.observer_election_delay_ms,
        observer_master_port: quorum.observer_master_port,
        observer_master_bytes_max: quorum.observer_master_size_limit_bytes as usize,
        trust_empty: config.journal.db_autocreate,
        multi_address: quorum.multi_address_enabled,
        field_bytes_max: config.client.jute_max_buffer_bytes.saturating_add(config.client.jute_max_buffer_extra_bytes)
            as usize,
    })
}

/// Where a member listens for the others; `None` for a standalone server.
pub fn peer_setup(config: &Config) -> Option<PeerSetup> {
    let ensemble = config.ensemble.as_ref()?;
    let everywhere = config.quorum.quorum_listen_on_all_ips;
    let mut listen: Vec<PeerListen> = Vec::new();
    for address in &ensemble.members[&ensemble.my_id].addresses {
        let host = (!everywhere).then(|| address.host.clone());
        for (port, number) in [(PeerPort::Election, address.election_port), (PeerPort::Quorum, address.quorum_port)] {
            let door = PeerListen { port, host: host.clone(), number };
            // Several addresses may share their ports, which on all interfaces is one door.
            if !listen.contains(&door) {
                listen.push(door);
            }
        }
    }
    // Observers of ours and of others learn from voters there.
    if let (Some(number), Role::Participant) =
        (config.quorum.observer_master_port, ensemble.members[&ensemble.my_id].role)
    {
        let hosts: Vec<Option<String>> = listen.iter().map(|door| door.host.clone()).collect();
        for host in hosts {
            let door = PeerListen { port: PeerPort::Observers, host, number };
            if !listen.contains(&door) {
                listen.push(door);
            }
        }
    }
    Some(PeerSetup {
        listen,
        bind_attempts: config.quorum.election_port_bind_retry,
        keepalive: config.quorum.tcp_keep_alive,
        oracle: config.quorum.oracle_path.clone(),
    })
}

fn view(ensemble: &EnsembleConfig) -> View {
    let client = |at: &HostPort| PeerAddress { host: at.host.clone(), port: at.port }.to_string();
    let members = ensemble.members.values().map(|member| {
        let id = ServerId(member.id);
        let addresses = member.addresses.iter().map(|at| MemberAddress {
            host: at.host.clone(),
            quorum_port: at.quorum_port,
            election_port: at.election_port,
        });
        let observer = member.role == Role::Observer;
        (id, Member { id, addresses: addresses.collect(), observer, client: member.client.as_ref().map(client) })
    });
    let by_server = |numbers: &std::collections::BTreeMap<i64, i64>| {
        numbers.iter().map(|(id, number)| (ServerId(*id), *number)).collect()
    };
    View {
        members: members.collect(),
        groups: by_server(&ensemble.groups),
        weights: by_server(&ensemble.weights),
        version: ensemble.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Outside, Request, assemble};
    use std::io;
    use std::net::IpAddr;
    use std::path::Path;

    /// A zoo.cfg, and myid 2 in every data directory.
    struct Files(String);

    impl Outside for Files {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            match path.file_name().and_then(|name| name.to_str()) {
                Some("zoo.cfg") => Ok(self.0.clone().into_bytes()),
                Some("myid") => Ok(b"2\n".to_vec()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
        fn resolve(&self, host: &str) -> Option<IpAddr> {
            host.parse().ok()
        }
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn config(text: &str) -> Config {
        let text = format!("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/d\n{text}");
        assemble(&Request::file("zoo.cfg"), &Files(text)).unwrap()
    }

    const THREE: &str = "server.1=zk1:2888:3888;2181\nserver.2=[2001:db8::2]:2889:3889;127.0.0.1:2182\n\
                         server.3=zk3:2888:3888\nserver.4=zk4:2888:3888:observer;2181\n";

    #[test]
    fn a_member_is_told_its_limits_and_who_the_others_are() {
        let config = config(&format!(
            "{THREE}connectToLearnerMasterLimit=0\nleaderServes=no\ncnxTimeout=700\nlocalSessionsEnabled=true\n"
        ));
        let settings = ensemble_settings(&config).unwrap();
        assert_eq!((settings.me, settings.observer, settings.leader_serves), (ServerId(2), false, false));
        let sessions = (settings.local_sessions, settings.local_sessions_upgrading, settings.read_only_mode);
        assert_eq!(sessions, (true, false, false));
        assert_eq!(
            settings.view.to_text().lines().collect::<Vec<_>>(),
            [
                "server.1=zk1:2888:3888:participant;0.0.0.0:2181",
                "server.2=[2001:db8::2]:2889:3889:participant;127.0.0.1:2182",
                "server.3=zk3:2888:3888:participant",
                "server.4=zk4:2888:3888:observer;0.0.0.0:2181",
                "version=0",
            ]
        );
        assert_eq!(View::parse(&settings.view.to_text()).unwrap(), *settings.view);
        assert_eq!((settings.init_limit_ticks, settings.sync_limit_ticks, settings.connect_limit_ticks), (10, 5, 10));
        assert_eq!((settings.tick_ms, settings.cnx_timeout_ms, settings.preamble_timeout_ms), (2000, 700, 10_000));
        assert_eq!((settings.commit_log_count, settings.snapshot_size_factor), (500, Some(0.33)));
        let own = PeerAddress { host: "2001:db8::2".into(), port: 3889 };
        assert_eq!(settings.own_election_addresses(), [own]);
        // Its clients come where its own line says.
        assert_eq!(config.client.client_addr, Some("127.0.0.1:2182".parse().unwrap()));
    }

    #[test]
    fn an_observer_knows_it_has_no_vote_and_groups_are_kept() {
        let text = "server.1=a:1:2\nserver.2=b:1:2:observer\nserver.3=c:1:2\nserver.5=d:1:2\n\
                    group.1=1\ngroup.2=3:5\nweight.5=3\n";
        let settings = ensemble_settings(&config(text)).unwrap();
        assert!(settings.observer && settings.view.is_hierarchical());
        assert_eq!(settings.view.groups[&ServerId(5)], 2);
        assert_eq!([1, 2, 5].map(|id| settings.view.weight(ServerId(id))), [1, 0, 3]);
    }

    #[test]
    fn a_member_listens_at_its_own_line_or_everywhere() {
        let setup = peer_setup(&config(&format!("{THREE}electionPortBindRetry=7\ntcpKeepAlive=true\n"))).unwrap();
        let door = |port, number| PeerListen { port, host: Some("2001:db8::2".into()), number };
        assert_eq!(setup.listen, [door(PeerPort::Election, 3889), door(PeerPort::Quorum, 2889)]);
        assert_eq!((setup.bind_attempts, setup.keepalive), (7, true));

        let several = "multiAddress.enabled=true\nquorumListenOnAllIPs=true\nserver.1=a:1:2\nserver.3=c:1:2\n\
                       server.2=b:2888:3888|b2:2888:3888|b3:2890:3890\n";
        let setup = peer_setup(&config(several)).unwrap();
        let door = |port, number| PeerListen { port, host: None, number };
        assert_eq!(
            setup.listen,
            [
                door(PeerPort::Election, 3888),
                door(PeerPort::Quorum, 2888),
                door(PeerPort::Election, 3890),
                door(PeerPort::Quorum, 2890),
            ]
        );
    }

    #[test]
    fn a_voter_serves_observers_where_it_serves_learners_and_an_observer_serves_nobody() {
        let config = config(&format!("{THREE}observerMasterPort=2191\nobserverMaster.sizeLimit=5000\n"));
        let settings = ensemble_settings(&config).unwrap();
        assert_eq!((settings.observer_master_port, settings.observer_master_bytes_max), (Some(2191), 5000));
        let door = PeerListen { port: PeerPort::Observers, host: Some("2001:db8::2".into()), number: 2191 };
        assert_eq!(peer_setup(&config).unwrap().listen.last(), Some(&door));
        assert_eq!(peer_setup(&config).unwrap().listen.len(), 3);
        let text = "observerMasterPort=2191\nserver.1=a:1:2\nserver.2=b:1:2:observer\nserver.3=c:1:2\n";
        let config = self::config(text);
        assert_eq!(ensemble_settings(&config).unwrap().observer_master_port, Some(2191));
        assert!(peer_setup(&config).unwrap().listen.iter().all(|door| door.port != PeerPort::Observers));
    }

    #[test]
    fn a_standalone_server_has_no_peers() {
        let config = config("clientPort=2181\nserver.2=localhost:2888:3888\n");
        assert!(ensemble_settings(&config).is_none() && peer_setup(&config).is_none());
    }
}
