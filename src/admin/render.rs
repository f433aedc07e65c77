//! A word's text, from a report alone (parity 7.2, 7.3). Lines end with "\n".

use std::fmt::Write;

use super::words::Word;
use super::{lists, monitor};
use crate::mail::metrics::Summary;
use crate::mail::{Report, TreeReport};

/// The one line for a word nobody allowed (parity FL-05).
pub fn not_whitelisted(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.name())
}

/// The answer to a word. The report must be of the kind [`Word::survey`] names.
pub fn render(word: Word, report: &Report) -> String {
    let replica = &report.replica;
    if replica.is_leaderless && word.needs_serving() {
        let end = if word == Word::Hash { "" } else { "\n" };
        return format!("This ZooKeeper instance is not currently serving requests{end}");
    }
    match word {
        Word::Ruok => "imok".to_owned(),
        Word::Isro => if replica.server_state == "read-only" { "ro" } else { "rw" }.to_owned(),
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
    text
}

/// srvr, and with its clients stat (parity FL-41).
fn server(report: &Report, with_clients: bool) -> String {
    let totals = Totals::of(report);
    let replica = &report.replica;
    let mut text = format!("Zookeeper version: {}\n", replica.host.version);
    if replica.server_state == "read-only" {
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
    text
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
