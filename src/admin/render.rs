//! A word's text, from a report alone (parity 7.2, 7.3). Lines end with "\n".

use std::fmt::Write;

use super::words::Word;
use super::{lists, monitor};
use crate::mail::metrics::Summary;
use crate::mail::{Report, Service, Sizes, TreeReport};

/// The one line for a word nobody allowed (parity FL-05).
pub fn not_whitelisted(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.name())
}

/// The answer to a word. The report must be of the kind [`Word::survey`] names.
pub fn render(word: Word, report: &Report) -> String {
    let replica = &report.replica;
    if replica.service == Service::Nobody && word.needs_serving() {
        let end = if word == Word::Hash { "" } else { "\n" };
        return format!("This ZooKeeper instance is not currently serving requests{end}");
    }
    match word {
        Word::Ruok => "imok".to_owned(),
        Word::Isro => match replica.service {
            Service::Nobody => "null",
            Service::ReadOnly => "ro",
            Service::Everybody => "rw",
        }
        .to_owned(),
        Word::Gtmk | Word::Stmk => replica.trace_mask.to_string(),
        Word::Envi => environment(report),
        Word::Dirs => {
            let host = &replica.host;
            format!("datadir_size: {}\nlogdir_size: {}\n", host.data_dir_size_bytes, host.log_dir_size_bytes)
        }
        Word::Crst => "Connection stats reset.\n".to_owned(),
        Word::Srst => "Server stats reset.\n".to_owned(),
        Word::Conf => configuration(report),
        Word::Srvr => server(report, false),
        Word::Stat => server(report, true),
        Word::Cons => lists::connections(report),
        Word::Dump => lists::dump(report),
        Word::Mntr => monitor::monitor(report),
        Word::Wchs => lists::watch_summary(report),
        Word::Wchc => lists::watches_by_session(report),
        Word::Wchp => lists::watches_by_path(report),
        Word::Hash => replica.digests.iter().map(|(zxid, digest)| format!("{:x}: {digest}\n", zxid.0)).collect(),
        // Never asked: it is no word once it is allowed.
        Word::TelnetClose => String::new(),
    }
}

fn environment(report: &Report) -> String {
    let host = &report.replica.host;
    let mut text = format!("Environment:\nzookeeper.version={}\n", host.version);
    for (key, value) in &host.environment {
        let value = if value.is_empty() { "<NA>" } else { value };
        writeln!(text, "{key}={value}").expect("a String takes everything");
    }
    text
}

fn configuration(report: &Report) -> String {
    let host = &report.replica.host;
    let mut text = String::new();
    for (key, value) in &host.configuration {
        writeln!(text, "{key}={value}").expect("a String takes everything");
        let size = match &**key {
            "dataDir" => Some(("dataDirSize", host.data_dir_size_bytes)),
            "dataLogDir" => Some(("dataLogSize", host.log_dir_size_bytes)),
            _ => None,
        };
        if let Some((key, bytes)) = size {
            writeln!(text, "{key}={bytes}").expect("a String takes everything");
        }
    }
    // The read-only server's stops before the members (parity FL-40).
    if let Some(membership) = host.membership.as_ref().filter(|_| report.replica.service != Service::ReadOnly) {
        write!(text, "membership: \n{membership}").expect("a String takes everything"); // No end of line (FL-09).
    }
    text
}

/// srvr, and with its clients stat (parity FL-41).
fn server(report: &Report, with_clients: bool) -> String {
    let totals = Totals::of(report);
    let replica = &report.replica;
    let mut text = format!("Zookeeper version: {}\n", replica.host.version);
    if replica.service == Service::ReadOnly {
        text.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if with_clients {
        text.push_str("Clients:\n");
        for conn in report.shards.iter().flat_map(|shard| &shard.connections) {
            lists::connection(&mut text, conn, true);
        }
        text.push('\n');
    }
    let latency = &totals.latency_ms;
    writeln!(
        text,
        "Latency min/avg/max: {}/{:?}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {}\n\
         Mode: {}\nNode count: {}",
        latency.min(),
        latency.average(),
        latency.max(),
        totals.received,
        totals.sent,
        totals.connections,
        totals.outstanding,
        replica.last_zxid,
        replica.server_state,
        totals.tree.znode_count,
    )
    .expect("a String takes everything");
    if let Some(leading) = replica.member.as_ref().and_then(|member| member.leading.as_ref()) {
        let [last, min, max] = or_minus_one(&leading.proposal_sizes);
        writeln!(text, "Proposal sizes last/min/max: {last}/{min}/{max}").expect("a String takes everything");
    }
    text
}

/// Last, smallest, largest, as the reference prints what has not been yet (ZK: BufferStats).
pub(super) fn or_minus_one(sizes: &Sizes) -> [i64; 3] {
    [sizes.last, sizes.min, sizes.max].map(|size| size.unwrap_or(-1))
}

/// Sums over the shards.
pub(super) struct Totals<'a> {
    pub latency_ms: Summary,
    pub received: u64,
    pub sent: u64,
    pub connections: u64,
    pub outstanding: u64,
    pub tree: &'a TreeReport,
}

impl<'a> Totals<'a> {
    pub fn of(report: &'a Report) -> Totals<'a> {
        static NO_TREE: TreeReport = TreeReport {
            znode_count: 0,
            ephemeral_count: 0,
            approximate_data_size_bytes: 0,
            ephemerals: Vec::new(),
            quotas: Vec::new(),
        };
        let mut latency_ms = Summary::default();
        report.shards.iter().for_each(|shard| latency_ms.merge(&shard.latency_ms));
        let sum = |field: fn(&crate::mail::ShardReport) -> u64| report.shards.iter().map(field).sum::<u64>();
        Totals {
            latency_ms,
            received: sum(|shard| shard.packets_received),
            sent: sum(|shard| shard.packets_sent),
            connections: sum(|shard| shard.connection_count),
            outstanding: sum(|shard| shard.outstanding_count) + report.replica.outstanding_count,
            tree: report.shards.iter().find_map(|shard| shard.tree.as_ref()).unwrap_or(&NO_TREE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{HostFacts, LeadingReport, MemberReport, ReplicaReport};

    fn member(leading: Option<LeadingReport>) -> Report {
        let configuration = [("dataDir", "/d/version-2"), ("serverId", "2"), ("peerType", "0")];
        let host = HostFacts {
            configuration: configuration.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            membership: Some("server.2=a:1:2:participant\nversion=0".to_owned()),
            ..HostFacts::default()
        };
        let server_state = if leading.is_some() { "leader" } else { "follower" };
        let member = Some(MemberReport { leading, ..MemberReport::default() });
        Report {
            shards: Vec::new(),
            replica: ReplicaReport { host: host.into(), member, server_state, ..Default::default() },
        }
    }

    #[test]
    fn only_a_leader_shows_the_sizes_of_proposals() {
        let mut leading = LeadingReport::default();
        let ends_with = |leading: &LeadingReport, end: &str| {
            let text = render(Word::Srvr, &member(Some(leading.clone())));
            assert!(text.ends_with(end), "{text}");
        };
        ends_with(&leading, "Mode: leader\nNode count: 0\nProposal sizes last/min/max: -1/-1/-1\n");
        leading.proposal_sizes.add(80);
        leading.proposal_sizes.add(48);
        ends_with(&leading, "Proposal sizes last/min/max: 48/48/80\n");
        assert!(render(Word::Srvr, &member(None)).ends_with("Mode: follower\nNode count: 0\n"));
    }

    #[test]
    fn a_read_only_server_says_so_and_speaks_of_no_leader_or_quorum() {
        let mut report = member(None);
        report.replica.service = Service::ReadOnly;
        report.replica.server_state = "read-only";
        assert_eq!(render(Word::Isro, &report), "ro");
        let told = "Zookeeper version: \nREAD-ONLY mode; serving only read-only clients\n";
        assert!(render(Word::Srvr, &report).starts_with(&format!("{told}Latency")));
        assert!(render(Word::Srvr, &report).ends_with("Mode: read-only\nNode count: 0\n"));
        assert!(render(Word::Stat, &report).starts_with(&format!("{told}Clients:\n\nLatency")));
        assert!(render(Word::Conf, &report).ends_with("serverId=2\npeerType=0\n"));
        let monitored = render(Word::Mntr, &report);
        assert!(monitored.contains("\nzk_server_state\tread-only\nzk_avg_latency\t"), "{monitored}");
        assert!(!monitored.contains("quorum_size"), "{monitored}");
    }

    #[test]
    fn conf_of_a_member_ends_with_the_members() {
        let expected = "dataDir=/d/version-2\ndataDirSize=0\nserverId=2\npeerType=0\nmembership: \n\
                        server.2=a:1:2:participant\nversion=0";
        assert_eq!(render(Word::Conf, &member(None)), expected);
    }

    #[test]
    fn a_server_without_a_leader_is_neither_read_write_nor_read_only() {
        let mut report = member(None);
        assert_eq!(render(Word::Isro, &report), "rw");
        report.replica.service = Service::Nobody;
        assert_eq!(render(Word::Isro, &report), "null");
        assert!(render(Word::Srvr, &report).starts_with("This ZooKeeper instance is not currently serving"));
    }
}
