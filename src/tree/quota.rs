//! Quotas (parity Q-01..Q-16): limits that clients write as text below /zookeeper/quota, and usage that the
//! server keeps beside them, rewritten in place with every change below the limited path.
//!
//! The text in the znodes is the only truth: nothing is cached, so nothing can disagree after an undo. Text
//! that cannot be read is ignored (UB-05): no limit is enforced and no usage is kept by it.

use smallvec::SmallVec;

use super::change::Change;
use super::store::Tree;
use super::znode::Znode;
use crate::base::path;

type Changes = SmallVec<[Change; 2]>;

pub(super) const PREFIX: &str = "/zookeeper/quota/";
const LIMITS: &str = "zookeeper_limits";
const USAGE: &str = "zookeeper_stats";

/// A limited path's bounds; -1 is "none". Hard bounds replace the soft ones when a write is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub count: i64,
    pub bytes: i64,
    pub count_hard: i64,
    pub bytes_hard: i64,
}

/// What a limited path uses: itself and all below it; bytes of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    pub count: i64,
    pub bytes: i64,
}

/// One quota, as its two znodes have it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaView<'a> {
    pub path: &'a str,
    pub limits: Limits,
    /// `None` when the usage node is missing or unreadable.
    pub usage: Option<Usage>,
}

/// A limits node for no path at all, whose creation must be refused (parity Q-16).
pub fn is_dead_limit_path(path: &str) -> bool {
    path == "/zookeeper/quota/zookeeper_limits"
}

/// The path a limits node limits; `None` for any other node.
pub(super) fn limited_path(path: &str) -> Option<&str> {
    inner(path, LIMITS)
}

fn inner<'a>(path: &'a str, leaf: &str) -> Option<&'a str> {
    let inner = path.strip_prefix(path::QUOTA)?.strip_suffix(leaf)?.strip_suffix('/')?;
    inner.starts_with('/').then_some(inner)
}

/// The pairs of a quota text, later ones first-come: `None` if it cannot be read. ZK: StatsTrack.
struct Track<'a>(SmallVec<[(&'a str, i64); 4]>);

impl<'a> Track<'a> {
    fn parse(data: Option<&'a [u8]>) -> Option<Track<'a>> {
        let mut track = Track(SmallVec::new());
        let text = std::str::from_utf8(data.unwrap_or_default()).ok()?;
        for piece in text.split([',', ';']).filter(|piece| !piece.is_empty()) {
            let mut parts = piece.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            track.set(key, if value.is_empty() { -1 } else { value.parse().ok()? });
        }
        Some(track)
    }

    fn get(&self, key: &str) -> i64 {
        self.0.iter().find(|(other, _)| *other == key).map_or(-1, |(_, value)| *value)
    }

    fn set(&mut self, key: &'a str, value: i64) {
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some(pair) => pair.1 = value,
            None => self.0.push((key, value)),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            count: self.get("count"),
            bytes: self.get("bytes"),
            count_hard: self.get("countHardLimit"),
            bytes_hard: self.get("byteHardLimit"),
        }
    }

    fn usage(&self) -> Usage {
        Usage { count: self.get("count"), bytes: self.get("bytes") }
    }

    /// `count` and `bytes` first, a lone "=" before the rest: the shape the oldest readers need.
    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let mut rest: Vec<_> = self.0.iter().filter(|(key, _)| *key != "count" && *key != "bytes").collect();
        rest.sort_unstable();
        if !rest.is_empty() {
            text.push('=');
        }
        for (key, value) in rest {
            text.push_str(&format!(";{key}={value}"));
        }
        text
    }
}

impl Tree {
    /// The deepest limited path at or above `path`.
    fn deepest_quota(&self, path: &str) -> Option<&str> {
        if self.quotas.is_empty() {
            return None;
        }
        let mut at = path;
        while at.len() > 1 {
            if let Some(found) = self.quotas.get(at) {
                return Some(found);
            }
            at = path::parent(at)?;
        }
        None
    }

    fn quota_node(&self, path: &str, leaf: &str) -> Option<&Znode> {
        let node = [path::QUOTA, path, "/", leaf].concat();
        self.get(&node).map(|node| node.znode())
    }

    fn quota_at<'a>(&'a self, path: &'a str) -> Option<QuotaView<'a>> {
        let limits = Track::parse(self.quota_node(path, LIMITS)?.data())?.limits();
        let usage = self.quota_node(path, USAGE).and_then(|node| Track::parse(node.data()));
        Some(QuotaView { path, limits, usage: usage.map(|track| track.usage()) })
    }

    /// The quota that `path` falls under; `None` also when its limits cannot be read.
    pub fn quota_for(&self, path: &str) -> Option<QuotaView<'_>> {
        self.quota_at(self.deepest_quota(path)?)
    }

    /// Every readable quota, by path.
    pub fn quotas(&self) -> impl Iterator<Item = QuotaView<'_>> {
        self.quotas.iter().filter_map(|path| self.quota_at(path))
    }

    /// Whether the hard limits over `path` bear that much more (Q-09..Q-13). Soft ones never refuse.
    pub fn quota_allows(&self, path: &str, count_delta: i64, bytes_delta: i64) -> bool {
        let Some(QuotaView { limits, usage: Some(usage), .. }) = self.quota_for(path) else { return true };
        let over = |hard: i64, used: i64, delta: i64| delta != 0 && hard > -1 && used.saturating_add(delta) > hard;
        !over(limits.count_hard, usage.count, count_delta) && !over(limits.bytes_hard, usage.bytes, bytes_delta)
    }

    /// A node below /zookeeper/quota came into being: a limit takes effect, or usage is counted afresh.
    pub(super) fn quota_node_created(&mut self, path: &str, changes: &mut Changes) {
        if let Some(limited) = limited_path(path) {
            self.add_quota(limited);
        } else if let Some(counted) = inner(path, USAGE) {
            self.recount(counted, changes);
        }
    }

    /// Counts a subtree and writes its usage node, if there is one.
    pub(super) fn recount(&mut self, limited: &str, changes: &mut Changes) {
        let mut usage = Usage { count: 0, bytes: 0 };
        if let Some(top) = self.slot_of(limited) {
            for slot in std::iter::once(top).chain(self.below(top)) {
                usage.count += 1;
                usage.bytes += self.slab.at(slot).znode().data_len() as i64;
            }
        }
        let mut track = Track(SmallVec::new());
        track.set("count", usage.count);
        track.set("bytes", usage.bytes);
        self.write_usage(limited, &track.text(), changes);
    }

    /// A change at `path` is felt by the deepest quota over it.
    pub(super) fn count_usage(&mut self, path: &str, count_delta: i64, bytes_delta: i64, changes: &mut Changes) {
        let Some(limited) = self.deepest_quota(path) else { return };
        let Some(node) = self.quota_node(limited, USAGE) else { return };
        let Some(mut track) = Track::parse(node.data()) else { return };
        let Usage { count, bytes } = track.usage();
        track.set("count", count.saturating_add(count_delta));
        track.set("bytes", bytes.saturating_add(bytes_delta));
        let (limited, text): (Box<str>, String) = (limited.into(), track.text());
        drop(track);
        self.write_usage(&limited, &text, changes);
    }

    /// New text in a usage node, nothing else of it touched.
    fn write_usage(&mut self, limited: &str, text: &str, changes: &mut Changes) {
        let path = [path::QUOTA, limited, "/", USAGE].concat();
        let Some(slot) = self.slot_of(&path) else { return };
        let old = self.slab.at(slot).znode();
        if old.data() == Some(text.as_bytes()) {
            return;
        }
        let node = old.with_data(&old.meta(), Some(text.as_bytes()));
        self.replace(slot, node.clone());
        changes.push(Change::Usage { node });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{SessionId, WallMs, Xid, Zxid};
    use crate::codec::txn::{CreateKind, Txn, TxnHeader};
    use crate::tree::OwnerRules;

    struct World {
        tree: Tree,
        zxid: i64,
    }

    impl World {
        fn new() -> World {
            World { tree: Tree::new(OwnerRules::default()), zxid: 0 }
        }

        fn run(&mut self, txn: &Txn<'_>) -> Changes {
            self.zxid += 1;
            let header =
                TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(self.zxid), time: WallMs(self.zxid) };
            let mut changes = Changes::new();
            self.tree.apply(&header, txn, &mut changes).unwrap();
            changes
        }

        fn put(&mut self, path: &str, data: &str) -> Changes {
            let known = self.tree.get(path).is_some();
            let data = Some(data.as_bytes().into());
            if known {
                return self.run(&Txn::SetData { path: path.into(), data, version: 1 });
            }
            let kind = CreateKind::Plain { two: false, ephemeral: false };
            self.run(&Txn::Create { kind, path: path.into(), data, acl: vec![].into(), parent_cversion: -1 })
        }

        fn text(&self, path: &str) -> &str {
            std::str::from_utf8(self.tree.get(path).unwrap().data().unwrap()).unwrap()
        }

        fn limit(&mut self, path: &str, limits: &str) {
            let mut at = path::QUOTA.to_string();
            for name in path[1..].split('/') {
                at = format!("{at}/{name}");
                if self.tree.get(&at).is_none() {
                    self.put(&at, "");
                }
            }
            self.put(&format!("{at}/{USAGE}"), "");
            self.put(&format!("{at}/{LIMITS}"), limits);
        }
    }

    #[test]
    fn usage_follows_every_change_and_leaves_the_usage_nodes_stat_alone() {
        let mut world = World::new();
        world.put("/a", "12345");
        world.put("/a/b", "1");
        world.limit("/a", "count=10,bytes=-1");
        let usage = "/zookeeper/quota/a/zookeeper_stats";
        assert_eq!(world.text(usage), "count=2,bytes=6");
        let before = world.tree.get(usage).unwrap().stat();
        let changes = world.put("/a/c", "123");
        assert!(matches!(&changes[..], [Change::Insert { .. }, Change::Usage { node }] if node.path() == usage));
        assert_eq!(world.text(usage), "count=3,bytes=9");
        world.put("/a/c", "1234");
        world.run(&Txn::Delete { path: "/a/b".into(), container: false });
        world.put("/ab", "not below");
        assert_eq!(world.text(usage), "count=2,bytes=9");
        assert_eq!(world.tree.get(usage).unwrap().stat().mzxid, before.mzxid);
        assert_eq!(world.tree.get(usage).unwrap().stat().version, before.version);
        assert_eq!(world.tree.quotas().map(|quota| quota.path).collect::<Vec<_>>(), ["/a"]);
        world.run(&Txn::Delete { path: "/zookeeper/quota/a/zookeeper_limits".into(), container: false });
        assert!(world.put("/a/d", "").len() == 1 && world.tree.quota_for("/a").is_none());
    }

    #[test]
    fn the_deepest_quota_counts_and_a_hard_limit_replaces_the_soft_one() {
        let mut world = World::new();
        world.put("/a", "");
        world.put("/a/b", "");
        world.limit("/a", "count=1,bytes=1=;byteHardLimit=5;countHardLimit=3");
        world.limit("/a/b", "count=1,bytes=1");
        let tree = &world.tree;
        assert_eq!(tree.quota_for("/a/b/c").unwrap().path, "/a/b");
        assert_eq!(tree.quota_for("/a/x").unwrap().usage, Some(Usage { count: 2, bytes: 0 }));
        // Soft limits refuse nothing.
        assert!(tree.quota_allows("/a/b/c", 1, 100));
        assert!(tree.quota_allows("/a/x", 1, 5));
        assert!(!tree.quota_allows("/a/x", 1, 6) && !tree.quota_allows("/a/x", 2, 0));
        world.put("/a", "1234567");
        // Above already: shrinking is refused too while the result is, and no change of bytes is not judged.
        assert!(!world.tree.quota_allows("/a", 0, -1) && world.tree.quota_allows("/a", 0, -2));
        assert!(world.tree.quota_allows("/a", 0, 0));
        assert!(world.tree.quota_allows("/elsewhere", 9, 9) && world.tree.quota_allows("/", 9, 9));
    }

    #[test]
    fn text_that_cannot_be_read_limits_nothing_and_breaks_nothing() {
        for bad in ["nonsense", "count=x", "count", "count=1,bytes=99999999999999999999"] {
            let mut world = World::new();
            world.put("/a", "");
            world.limit("/a", bad);
            assert!(world.tree.quota_for("/a").is_none() && world.tree.quota_allows("/a/b", 1, 1), "{bad}");
            world.put("/zookeeper/quota/a/zookeeper_stats", bad);
            world.put("/a/b", "x");
            assert_eq!(world.text("/zookeeper/quota/a/zookeeper_stats"), bad);
            assert_eq!(world.tree.quotas().count(), 0);
        }
    }

    #[test]
    fn texts_are_read_and_written_as_zookeeper_does() {
        let text = |text: &'static str| Track::parse(Some(text.as_bytes())).map(|track| track.text());
        assert_eq!(text("").as_deref(), Some("count=-1,bytes=-1"));
        assert_eq!(text("bytes=2,,count=1;").as_deref(), Some("count=1,bytes=2"));
        assert_eq!(
            text("count=1,bytes=5=;zz=7;countHardLimit=10").as_deref(),
            Some("count=1,bytes=5=;countHardLimit=10;zz=7")
        );
        assert_eq!(text("count=").as_deref(), Some("count=-1,bytes=-1"));
        assert_eq!(text("count"), None);
    }

    #[test]
    fn a_limits_node_must_limit_something() {
        assert!(is_dead_limit_path("/zookeeper/quota/zookeeper_limits"));
        assert_eq!(limited_path("/zookeeper/quota/zookeeper_limits"), None);
        assert_eq!(limited_path("/zookeeper/quotax/zookeeper_limits"), None);
        assert_eq!(limited_path("/zookeeper/quota/a/b/zookeeper_limits"), Some("/a/b"));
        let mut world = World::new();
        world.put("/zookeeper/quota/zookeeper_limits", "count=0,bytes=0");
        world.put("/a", "");
        assert_eq!(world.tree.quotas().count(), 0);
    }
}
