//! Quotas as the specification has them, counted the slow way: the usage node of a limited path says at every zxid
//! how many znodes are there and how long their data is, and no write passes a hard limit.
//!
//! Clients set and lift whole quotas of three paths that are not below each other: usage that was not kept for a
//! while, or is shared between a quota and a deeper one, depends on when a snapshot was last loaded.

use std::rc::Rc;

use super::client::Op;
use super::model::{Model, Node};
use super::rng::Rng;
use crate::base::{Acl, Id, Perms};

pub const QUOTA_EXCEEDED: i32 = -125;

/// A limited path, and what is below /zookeeper/quota for it.
struct Quota {
    path: &'static str,
    folder: &'static str,
    limits: &'static str,
    usage: &'static str,
}

const QUOTAS: [Quota; 3] = [
    Quota {
        path: "/a",
        folder: "/zookeeper/quota/a",
        limits: "/zookeeper/quota/a/zookeeper_limits",
        usage: "/zookeeper/quota/a/zookeeper_stats",
    },
    Quota {
        path: "/b",
        folder: "/zookeeper/quota/b",
        limits: "/zookeeper/quota/b/zookeeper_limits",
        usage: "/zookeeper/quota/b/zookeeper_stats",
    },
    Quota {
        path: "/c",
        folder: "/zookeeper/quota/c",
        limits: "/zookeeper/quota/c/zookeeper_limits",
        usage: "/zookeeper/quota/c/zookeeper_stats",
    },
];

/// The quota that `path` would fall under.
fn over(path: &str) -> Option<&'static Quota> {
    QUOTAS
        .iter()
        .find(|quota| path.strip_prefix(quota.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The usage node that a change at `path` may rewrite.
pub fn usage_node(path: &str) -> Option<&'static str> {
    over(path).map(|quota| quota.usage)
}

impl Model {
    /// Znodes and bytes at and below a limited path.
    fn usage_of(&self, quota: &Quota) -> (i64, i64) {
        let (mut count, mut bytes) = (0, 0);
        for (path, node) in self.nodes_from(quota.path).take_while(|(path, _)| path.starts_with(quota.path)) {
            if over(path).is_some_and(|other| other.path == quota.path) {
                count += 1;
                bytes += node.data.as_ref().map_or(0, |data| data.len() as i64);
            }
        }
        (count, bytes)
    }

    /// Rewrites the usage node that a change at `path` is felt by.
    pub(super) fn settle_usage(&mut self, zxid: i64, path: &str) {
        let created = QUOTAS.iter().find(|quota| quota.usage == path);
        let felt = over(path).filter(|quota| self.node(quota.limits).is_some());
        let Some(quota) = created.or(felt) else { return };
        let Some(node) = self.node(quota.usage) else { return };
        let (count, bytes) = self.usage_of(quota);
        let text = format!("count={count},bytes={bytes}");
        if node.data.as_deref() != Some(text.as_bytes()) {
            let node = Node { data: Some(Rc::from(text.as_bytes())), ..Node::clone(node) };
            self.put(zxid, quota.usage, Some(node));
        }
    }

    /// Whether the hard limits over `path` bear that much more.
    pub(super) fn quota_allows(&self, path: &str, count_more: i64, bytes_more: i64) -> bool {
        let Some(quota) = over(path).filter(|_| self.quotas) else { return true };
        let Some(limits) = self.node(quota.limits) else { return true };
        let text = String::from_utf8_lossy(limits.data.as_deref().unwrap_or_default());
        if text == NONSENSE {
            return true;
        }
        let hard = |key: &str| {
            let digits = text.split_once(key)?.1.split(';').next()?;
            digits.parse::<i64>().ok().filter(|limit| *limit >= 0)
        };
        let (count, bytes) = self.usage_of(quota);
        let passes = |limit: Option<i64>, used, more| more != 0 && limit.is_some_and(|limit| used + more > limit);
        !passes(hard("countHardLimit="), count, count_more) && !passes(hard("byteHardLimit="), bytes, bytes_more)
    }
}

/// A limits text nobody can read: it limits nothing, and usage is kept all the same.
const NONSENSE: &str = "count=many";

/// What clients do to quotas.
pub fn ask(dice: &mut Rng) -> Op {
    let quota = dice.pick(&QUOTAS);
    let create = |path: &str, data: Vec<u8>| Op::Create {
        code: 1,
        path: path.into(),
        data: Some(data),
        acl: Some(vec![Acl { perms: Perms::ALL, id: Id::new("world", "anyone") }]),
        flags: 0,
        ttl: 0,
    };
    let delete = |path: &str| Op::Delete { path: path.into(), version: -1 };
    match dice.below(8) {
        0..4 => Op::Multi(vec![
            create(quota.folder, Vec::new()),
            create(quota.limits, text(dice)),
            create(quota.usage, Vec::new()),
        ]),
        4..7 => Op::SetData { path: quota.limits.into(), data: Some(text(dice)), version: -1 },
        _ => Op::Multi(vec![delete(quota.limits), delete(quota.usage), delete(quota.folder)]),
    }
}

fn text(dice: &mut Rng) -> Vec<u8> {
    let (count, bytes) = (dice.between(1, 8), dice.between(0, 300));
    match dice.below(8) {
        0 => NONSENSE.into(),
        1 => format!("count={count},bytes={bytes}"),
        2 => format!("count=-1,bytes=-1=;countHardLimit={count}"),
        3 => format!("count=1,bytes=1=;byteHardLimit={bytes};countHardLimit=-1"),
        _ => format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit={count}"),
    }
    .into_bytes()
}
