//! mntr: every gauge, counter and summary, one `zk_<key>TAB<value>` line each (parity 7.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::render::{Totals, or_minus_one};
use crate::base::path;
use crate::mail::metrics::{Advanced, Basic, Counter, Metrics, Namespaces, Sampled, Summary};
use crate::mail::{MemberReport, QuotaReport, Report, Service, Sizes};

/// Collects lines.
struct Lines(String);

impl Lines {
    fn put(&mut self, key: impl Display, value: impl Display) {
        writeln!(self.0, "zk_{key}\t{value}").expect("a String takes everything");
    }

    /// Average, min, max, count and sum (parity FL-57).
    fn summary(&mut self, name: &str, summary: &Summary) {
        self.put(format_args!("avg_{name}"), format_args!("{:?}", summary.average()));
        self.put(format_args!("min_{name}"), summary.min());
        self.put(format_args!("max_{name}"), summary.max());
        self.put(format_args!("cnt_{name}"), summary.count);
        self.put(format_args!("sum_{name}"), summary.sum);
    }
}

pub(super) fn monitor(report: &Report) -> String {
    let mut lines = Lines(String::new());
    let replica = &report.replica;
    lines.put("version", &replica.host.version);
    lines.put("server_state", replica.server_state);
    // A read-only server has no part in a quorum to speak of.
    let member = replica.member.as_ref().filter(|_| replica.service != Service::ReadOnly);
    if let Some(member) = member {
        lines.put("peer_state", member.peer_state);
        if let Some(leader) = member.leader.filter(|_| member.observes) {
            lines.put("observer_master_id", leader);
        }
    }
    gauges(&mut lines, report);
    if let Some(member) = member {
        member_gauges(&mut lines, member);
    }
    quota_gauges(&mut lines, &Totals::of(report).tree.quotas);

    let shards = report.shards.iter().filter_map(|shard| shard.metrics.as_deref());
    let cores: Vec<&Metrics> = shards.chain(replica.metrics.as_deref()).collect();
    for counter in Counter::ALL {
        lines.put(counter.name(), cores.iter().map(|core| core.counter(*counter)).sum::<u64>());
    }
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for (namespace, count) in cores.iter().flat_map(|core| &core.quota_exceeded) {
        *refused.entry(namespace).or_default() += count;
    }
    for (namespace, count) in refused {
        lines.put(format_args!("{namespace}_quota_exceeded_error_per_namespace"), count);
    }
    for basic in Basic::ALL {
        lines.summary(basic.name(), &merged(cores.iter().map(|core| core.basic(*basic))));
    }
    for advanced in Advanced::ALL {
        let parts: Vec<&Sampled> = cores.iter().map(|core| core.advanced(*advanced)).collect();
        lines.summary(advanced.name(), &merged(parts.iter().map(|part| &part.summary)));
        let [p50, p95, p99, p999] = Sampled::quantiles(&parts, [0.5, 0.95, 0.99, 0.999]);
        for (quantile, value) in [("p50", p50), ("p95", p95), ("p99", p99), ("p999", p999)] {
            lines.put(format_args!("{quantile}_{}", advanced.name()), value);
        }
    }
    namespaces(&mut lines, "write_per_namespace", cores.iter().map(|core| &core.write_per_namespace));
    namespaces(&mut lines, "read_per_namespace", cores.iter().map(|core| &core.read_per_namespace));
    lines.0
}

/// The gauges every server has (parity FL-52).
fn gauges(lines: &mut Lines, report: &Report) {
    let totals = Totals::of(report);
    let replica = &report.replica;
    let mut sizes = Sizes::default();
    report.shards.iter().for_each(|shard| sizes.merge(&shard.response_sizes));
    let drop_probability = report.shards.iter().map(|shard| shard.connection_drop_probability).fold(0.0, f64::max);
    lines.put("avg_latency", format_args!("{:?}", totals.latency_ms.average()));
    lines.put("max_latency", totals.latency_ms.max());
    lines.put("min_latency", totals.latency_ms.min());
    lines.put("packets_received", totals.received);
    lines.put("packets_sent", totals.sent);
    lines.put("num_alive_connections", totals.connections);
    lines.put("outstanding_requests", totals.outstanding);
    lines.put("uptime", replica.uptime_ms);
    lines.put("znode_count", totals.tree.znode_count);
    lines.put("watch_count", report.shards.iter().map(|shard| shard.watch_count).sum::<u64>());
    lines.put("ephemerals_count", totals.tree.ephemeral_count);
    lines.put("approximate_data_size", totals.tree.approximate_data_size_bytes);
    lines.put("global_sessions", replica.session_count);
    lines.put("local_sessions", replica.local_session_count);
    lines.put("open_file_descriptor_count", replica.host.open_file_descriptor_count);
    lines.put("max_file_descriptor_count", replica.host.max_file_descriptor_count);
    lines.put("connection_drop_probability", format_args!("{drop_probability:?}"));
    lines.put("last_client_response_size", sizes.last.unwrap_or(-1));
    lines.put("max_client_response_size", sizes.max.unwrap_or(-1));
    lines.put("min_client_response_size", sizes.min.unwrap_or(-1));
    // No TLS listener, so none of these four can be anything else: what fails to authenticate is a certificate, not a
    // password (ZK: NettyServerCnxnFactory).
    lines.put("outstanding_tls_handshake", 0);
    lines.put("auth_failed_count", 0);
    lines.put("non_mtls_remote_conn_count", 0);
    lines.put("non_mtls_local_conn_count", 0);
}

/// Those of a member of an ensemble; the leader has more (parity FL-53, FL-54).
fn member_gauges(lines: &mut Lines, member: &MemberReport) {
    lines.put("quorum_size", member.quorum_size);
    if let Some(observers) = member.observers {
        lines.put("synced_observers", observers);
    }
    let Some(leading) = &member.leading else { return };
    let synced = || leading.learners.iter().filter(|learner| learner.synced);
    let [last, min, max] = or_minus_one(&leading.proposal_sizes);
    lines.put("learners", leading.learners.len());
    lines.put("synced_followers", synced().filter(|learner| !learner.observes).count());
    lines.put("synced_non_voting_followers", synced().filter(|learner| !learner.observes && !learner.votes).count());
    lines.put("synced_observers", synced().filter(|learner| learner.observes).count());
    lines.put("pending_syncs", leading.pending_syncs);
    lines.put("leader_uptime", leading.uptime_ms);
    lines.put("last_proposal_size", last);
    lines.put("max_proposal_size", max);
    lines.put("min_proposal_size", min);
}

/// Limits and usage by top-level path component, as ZK: QuotaMetricsUtils adds them up (parity FL-55).
fn quota_gauges(lines: &mut Lines, quotas: &[QuotaReport]) {
    type Field = fn(&QuotaReport) -> i64;
    let gauges: [(&str, Field); 4] = [
        ("quota_count_limit_per_namespace", |quota| quota.count_limit),
        ("quota_bytes_limit_per_namespace", |quota| quota.bytes_limit),
        ("quota_count_usage_per_namespace", |quota| quota.count_usage),
        ("quota_bytes_usage_per_namespace", |quota| quota.bytes_usage),
    ];
    for (name, field) in gauges {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for quota in quotas {
            *sums.entry(path::namespace(&quota.path)).or_default() += field(quota);
        }
        for (namespace, sum) in sums {
            lines.put(format_args!("{namespace}_{name}"), sum);
        }
    }
}

fn merged<'a>(parts: impl Iterator<Item = &'a Summary>) -> Summary {
    let mut whole = Summary::default();
    parts.for_each(|part| whole.merge(part));
    whole
}

fn namespaces<'a>(lines: &mut Lines, name: &str, cores: impl Iterator<Item = &'a Namespaces>) {
    let mut whole: BTreeMap<&str, Summary> = BTreeMap::new();
    for (namespace, summary) in cores.flat_map(Namespaces::iter) {
        whole.entry(namespace).or_default().merge(summary);
    }
    for (namespace, summary) in whole {
        lines.summary(&format!("{namespace}_{name}"), &summary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ServerId, Zxid};
    use crate::mail::{LeadingReport, LearnerState, ReplicaReport, ShardReport, TreeReport};

    fn report() -> Report {
        let mut metrics = Metrics::default();
        metrics.count_by(Counter::OpCountTotal, 5);
        metrics.sample(Advanced::Readlatency, 3);
        metrics.read_per_namespace.add("app", 10);
        let tree = TreeReport { znode_count: 5, approximate_data_size_bytes: 44, ..TreeReport::default() };
        let shard = ShardReport { tree: Some(tree), metrics: Some(Box::new(metrics)), ..ShardReport::default() };
        let other = ShardReport { tree: None, ..shard.clone() };
        let replica = ReplicaReport { server_state: "standalone", ..ReplicaReport::default() };
        Report { shards: vec![shard, other], replica }
    }

    #[test]
    fn every_family_is_printed_once_and_cores_are_added_up() {
        let text = monitor(&report());
        let mut keys: Vec<&str> = text.lines().map(|line| line.split('\t').next().unwrap()).collect();
        // version, state, 24 gauges, the families of parity 9.2, and one namespace of one summary set.
        assert_eq!(keys.len(), 2 + 24 + 77 + 42 * 5 + 23 * 9 + 5);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2 + 24 + 77 + 42 * 5 + 23 * 9 + 5);
        for line in [
            "zk_server_state\tstandalone",
            "zk_znode_count\t5",
            "zk_op_count_total\t10",
            "zk_avg_readlatency\t3.0",
            "zk_cnt_readlatency\t2",
            "zk_p999_readlatency\t3",
            "zk_sum_app_read_per_namespace\t20",
            "zk_connection_drop_probability\t0.0",
            "zk_min_client_response_size\t-1",
            "zk_avg_latency\t0.0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}");
        }
        assert!(text.starts_with("zk_version\t"));
    }

    #[test]
    fn a_leader_shows_its_learners_and_a_follower_only_the_size_of_the_quorum() {
        let learner = |number, votes, observes, synced| LearnerState {
            server: ServerId(number),
            votes,
            observes,
            synced,
            acked: Zxid::ZERO,
        };
        let learners = vec![
            learner(1, true, false, true),
            learner(2, true, false, false),
            learner(3, false, false, true),
            learner(4, false, true, true),
        ];
        let leading = LeadingReport { learners, pending_syncs: 7, uptime_ms: 9, ..LeadingReport::default() };
        let mut report = report();
        let state = "leading - broadcast";
        let leader = MemberReport { peer_state: state, quorum_size: 3, leading: Some(leading), ..Default::default() };
        report.replica.member = Some(leader.clone());
        let text = monitor(&report);
        assert!(text.contains("zk_server_state\tstandalone\nzk_peer_state\tleading - broadcast\nzk_avg_latency\t"));
        let expected = "zk_quorum_size\t3\nzk_learners\t4\nzk_synced_followers\t2\nzk_synced_non_voting_followers\t1\n\
                        zk_synced_observers\t1\nzk_pending_syncs\t7\nzk_leader_uptime\t9\nzk_last_proposal_size\t-1\n\
                        zk_max_proposal_size\t-1\nzk_min_proposal_size\t-1\n";
        assert!(text.contains(expected), "{text}");
        let follower = MemberReport { observers: Some(3), leading: None, ..leader.clone() };
        report.replica.member = Some(follower);
        assert!(monitor(&report).contains("\nzk_quorum_size\t3\nzk_synced_observers\t3\n"));
        let observer = MemberReport { leader: Some(ServerId(2)), observes: true, leading: None, ..leader };
        report.replica.member = Some(observer);
        let text = monitor(&report);
        assert!(text.contains("\nzk_observer_master_id\t2\n") && text.contains("\nzk_quorum_size\t3\n"));
        assert!(!text.contains("zk_learners") && !text.contains("zk_leader_uptime"));
    }
}
