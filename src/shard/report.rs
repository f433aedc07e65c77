//! A shard's part of a survey: counted here, printed elsewhere.

use super::conn::{Conn, Phase};
use super::{Shard, expires_ms};
use crate::base::ShardId;
use crate::mail::{ConnReport, QuotaReport, ShardReport, SurveyKind, TreeReport};

impl Shard {
    /// Measures what `kind` asks for; `reset` kinds clear what they name first.
    pub(super) fn report(&mut self, kind: SurveyKind) -> ShardReport {
        match kind {
            SurveyKind::ResetConnections => self.conns.iter_mut().for_each(|c| c.stats.reset()),
            SurveyKind::ResetServer => {
                self.stats = Default::default();
                self.metrics.reset();
            }
            _ => {}
        }
        let lists_connections = matches!(kind, SurveyKind::Connections | SurveyKind::Dump);
        let mut report = ShardReport {
            latency_ms: self.stats.latency_ms,
            packets_received: self.stats.received,
            packets_sent: self.stats.sent,
            response_sizes: self.stats.response_sizes,
            connection_count: self.conns.live() as u64,
            outstanding_count: self.outstanding as u64,
            connection_drop_probability: self.bucket.drop_probability(),
            watch_count: self.watches.watch_count() as u64,
            tree: (self.settings.shard == ShardId(0)).then(|| self.tree_report(kind)),
            metrics: (kind == SurveyKind::Metrics).then(|| Box::new(self.metrics.clone())),
            ..ShardReport::default()
        };
        if lists_connections {
            report.connections = self.conns.iter().map(|c| self.conn_report(c)).collect();
        }
        if matches!(kind, SurveyKind::WatchSummary | SurveyKind::Watches) {
            let live = self.conns.iter().filter(|c| c.phase == Phase::Live);
            for c in live {
                let mut paths: Vec<Box<str>> = self.watches.data_paths_of(c.id.slot).map(Box::from).collect();
                paths.sort_unstable();
                if !paths.is_empty() {
                    report.watching_connections += 1;
                    report.watch_pairs += paths.len() as u64;
                    if kind == SurveyKind::Watches {
                        report.watches.push((c.session, paths));
                    }
                }
            }
            report.watched_paths = self.watches.data_paths().map(Box::from).collect();
            report.watched_paths.sort_unstable();
        }
        report
    }

    fn tree_report(&self, kind: SurveyKind) -> TreeReport {
        let mut report = TreeReport {
            znode_count: self.tree.znode_count() as u64,
            ephemeral_count: self.tree.ephemeral_count() as u64,
            approximate_data_size_bytes: self.tree.approximate_data_size(),
            ..TreeReport::default()
        };
        if kind == SurveyKind::Dump {
            let owners = self.tree.sessions_with_ephemerals();
            report.ephemerals =
                owners.map(|session| (session, self.tree.ephemerals_of(session).map(Box::from).collect())).collect();
        }
        if kind == SurveyKind::Metrics {
            let unset = crate::tree::Usage { count: 0, bytes: 0 };
            report.quotas = self
                .tree
                .quotas()
                .map(|quota| {
                    let hard_or_soft = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
                    QuotaReport {
                        path: quota.path.into(),
                        count_limit: hard_or_soft(quota.limits.count_hard, quota.limits.count),
                        bytes_limit: hard_or_soft(quota.limits.bytes_hard, quota.limits.bytes),
                        count_usage: quota.usage.unwrap_or(unset).count,
                        bytes_usage: quota.usage.unwrap_or(unset).bytes,
                    }
                })
                .collect();
        }
        report
    }

    fn conn_report(&self, c: &Conn) -> ConnReport {
        const READ: u8 = 1;
        const WRITE: u8 = 4;
        ConnReport {
            peer: c.peer,
            interest_ops: if self.may_read(c) { READ } else { 0 } | if c.output.is_empty() { 0 } else { WRITE },
            queued_count: c.waiting.len() as u64,
            received_count: c.stats.received,
            sent_count: c.stats.sent,
            session: (c.phase == Phase::Live).then_some(c.session),
            last_op: c.stats.last_op,
            established: c.stats.established,
            timeout_ms: c.timeout_ms,
            last_cxid: c.stats.last_cxid,
            last_zxid: c.stats.last_zxid,
            last_response_ms: c.stats.last_response_ms,
            last_latency_ms: c.stats.last_latency_ms,
            latency_ms: c.stats.latency_ms,
            expires_ms: expires_ms(c, self.settings.sessionless_timeout_ms),
        }
    }
}
