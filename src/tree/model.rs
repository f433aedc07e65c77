//! A second, stupid tree: a map of paths to plain values, with every number worked out anew when asked.
//! Fed with the same random transactions as the clever one, it must agree on everything a client could see.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::change::Change;
use super::store::Tree;
use super::znode::{CONTAINER_OWNER, OwnerRules, ZnodeKind, ttl_owner};
use crate::base::{Acl, Dice, Id, SessionId, Stat, WallMs, Xid, Zxid, open_acl, path};
use crate::codec::txn::{CreateKind, Txn, TxnHeader};

#[derive(Clone, PartialEq, Eq, Debug)]
struct Plain {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    owner: i64,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    cversion: i32,
    aversion: i32,
}

/// What the tree must be.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Model {
    nodes: BTreeMap<String, Plain>,
}

fn plain(data: Option<&[u8]>, acl: &[Acl], owner: i64, zxid: i64, time: i64) -> Plain {
    Plain {
        data: data.map(<[u8]>::to_vec),
        acl: acl.to_vec(),
        owner,
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: time,
        mtime: time,
        version: 0,
        cversion: 0,
        aversion: 0,
    }
}

impl Model {
    fn new() -> Model {
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            nodes.insert(path.to_string(), plain(Some(b""), &open_acl(), 0, 0, 0));
        }
        let readable = [Acl { perms: 1, id: Id::new("world", "anyone") }];
        nodes.insert("/zookeeper/config".into(), Plain { aversion: -1, ..plain(Some(b""), &readable, 0, 0, 0) });
        Model { nodes }
    }

    fn children(&self, of: &str) -> Vec<&str> {
        self.nodes.keys().filter(|path| path::parent(path) == Some(of)).map(|path| path::name(path)).collect()
    }

    fn below(&self, of: &str) -> usize {
        let prefix = if of == "/" { "/".to_string() } else { format!("{of}/") };
        self.nodes.keys().filter(|path| path.len() > prefix.len() && path.starts_with(&prefix)).count()
    }

    /// Only transactions that a judge would have let pass.
    fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        let (zxid, time) = (header.zxid.0, header.time.0);
        match txn {
            Txn::Create { kind, path, data, acl, parent_cversion } => {
                let parent = self.nodes.get_mut(path::parent(path).unwrap()).unwrap();
                (parent.cversion, parent.pzxid) = (*parent_cversion, zxid);
                let owner = match kind {
                    CreateKind::Plain { ephemeral: false, .. } => 0,
                    CreateKind::Plain { ephemeral: true, .. } => header.session.0,
                    CreateKind::Container => CONTAINER_OWNER,
                    CreateKind::Ttl { ttl_ms } => ttl_owner(*ttl_ms),
                };
                self.nodes.insert(path.to_string(), plain(data.as_deref(), acl, owner, zxid, time));
                let inner = path.strip_prefix("/zookeeper/quota").and_then(|p| p.strip_suffix("/zookeeper_stats"));
                if let Some(inner) = inner {
                    self.recount(inner);
                }
                self.bump(path, 1, data.as_ref().map_or(0, |d| d.len() as i64));
            }
            Txn::Delete { path, .. } => {
                let gone = self.nodes.remove(&**path).unwrap();
                self.nodes.get_mut(path::parent(path).unwrap()).unwrap().pzxid = zxid;
                self.bump(path, -1, -(gone.data.map_or(0, |d| d.len() as i64)));
            }
            Txn::SetData { path, data, version } => {
                let node = self.nodes.get_mut(&**path).unwrap();
                let old = node.data.as_ref().map_or(0, |d| d.len() as i64);
                node.data = data.as_ref().map(|data| data.to_vec());
                (node.version, node.mzxid, node.mtime) = (*version, zxid, time);
                self.bump(path, 0, data.as_ref().map_or(0, |d| d.len() as i64) - old);
            }
            Txn::SetAcl { path, acl, version } => {
                let node = self.nodes.get_mut(&**path).unwrap();
                (node.acl, node.aversion) = (acl.to_vec(), *version);
            }
            Txn::Multi(ops) => ops.iter().for_each(|op| self.apply(header, op)),
            Txn::CloseSession { .. } => {
                let owned = self.nodes.iter().filter(|(_, node)| node.owner == header.session.0);
                for path in owned.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
                    self.apply(header, &Txn::Delete { path: path.into(), container: false });
                }
            }
            _ => {}
        }
    }

    /// Usage as "count=N,bytes=M" and nothing else: the generator makes no other.
    fn recount(&mut self, of: &str) {
        let inside = |path: &str| path == of || path.starts_with(&format!("{of}/"));
        let counted: Vec<_> = self.nodes.iter().filter(|(path, _)| inside(path)).map(|(_, node)| node).collect();
        let bytes: usize = counted.iter().map(|node| node.data.as_ref().map_or(0, Vec::len)).sum();
        let text = format!("count={},bytes={bytes}", counted.len());
        let usage = self.nodes.get_mut(&format!("/zookeeper/quota{of}/zookeeper_stats")).unwrap();
        usage.data = Some(text.into_bytes());
    }

    fn bump(&mut self, path: &str, count: i64, bytes: i64) {
        let limited = self.nodes.keys().filter_map(|p| {
            let inner = p.strip_prefix("/zookeeper/quota")?.strip_suffix("/zookeeper_limits")?;
            (path == inner || path.starts_with(&format!("{inner}/"))).then(|| inner.to_string())
        });
        let Some(deepest) = limited.max_by_key(String::len) else { return };
        let Some(usage) = self.nodes.get_mut(&format!("/zookeeper/quota{deepest}/zookeeper_stats")) else { return };
        let text = String::from_utf8(usage.data.clone().unwrap_or_default()).unwrap();
        let field = |name: &str| text.split(',').find_map(|p| p.strip_prefix(name)?.parse::<i64>().ok()).unwrap_or(-1);
        let text = format!("count={},bytes={}", field("count=") + count, field("bytes=") + bytes);
        usage.data = Some(text.into_bytes());
    }

    fn digest(&self) -> i64 {
        let mut sum = 0i64;
        for (path, node) in self.nodes.iter().filter(|(path, _)| !path.starts_with("/zookeeper/")) {
            let mut bytes = if path == "/" { vec![] } else { path.as_bytes().to_vec() };
            bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
            for long in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime] {
                bytes.extend_from_slice(&long.to_be_bytes());
            }
            for int in [node.version, node.cversion, node.aversion] {
                bytes.extend_from_slice(&int.to_be_bytes());
            }
            bytes.extend_from_slice(&node.owner.to_be_bytes());
            sum += i64::from(crc32fast::hash(&bytes));
        }
        sum
    }

    fn stat(&self, path: &str, rules: OwnerRules) -> Stat {
        let node = &self.nodes[path];
        let children = self.children(path).len() as i32;
        Stat {
            czxid: Zxid(node.czxid),
            mzxid: Zxid(node.mzxid),
            ctime: WallMs(node.ctime),
            mtime: WallMs(node.mtime),
            version: node.version,
            cversion: 2 * node.cversion - children,
            aversion: node.aversion,
            ephemeral_owner: match rules.kind(node.owner) {
                ZnodeKind::Ephemeral(session) => session,
                _ => SessionId::NONE,
            },
            data_length: node.data.as_ref().map_or(0, Vec::len) as i32,
            num_children: children,
            pzxid: Zxid(node.pzxid),
        }
    }

    fn must_equal(&self, tree: &Tree) {
        let rules = tree.rules();
        assert_eq!(tree.znode_count(), self.nodes.len() + 1);
        let mut bytes = 0;
        let mut owners: BTreeMap<SessionId, Vec<&str>> = BTreeMap::new();
        for (path, plain) in &self.nodes {
            let node = tree.get(path).unwrap_or_else(|| panic!("{path} is missing"));
            assert_eq!((node.path(), node.data()), (path.as_str(), plain.data.as_deref()));
            assert_eq!(node.stat(), self.stat(path, rules), "{path}");
            assert_eq!((node.stored_cversion(), node.acl()), (plain.cversion, plain.acl.as_slice()), "{path}");
            let mut children: Vec<&str> = tree.children(&node).collect();
            children.sort_unstable();
            assert_eq!(children, self.children(path), "{path}");
            assert_eq!(tree.descendant_count(&node), self.below(path), "{path}");
            bytes += path.len() + plain.data.as_ref().map_or(0, Vec::len);
            if let ZnodeKind::Ephemeral(session) = rules.kind(plain.owner) {
                owners.entry(session).or_default().push(path);
            }
        }
        assert_eq!(tree.approximate_data_size(), bytes as u64);
        assert_eq!(tree.ephemeral_count(), owners.values().map(Vec::len).sum::<usize>());
        assert!(tree.sessions_with_ephemerals().eq(owners.keys().copied()));
        for (session, paths) in owners {
            assert_eq!(tree.ephemerals_of(session).collect::<Vec<_>>(), paths);
        }
    }
}

/// Makes legal transactions for the state of a model.
struct Writer {
    dice: Dice,
    zxid: i64,
}

const SESSIONS: [i64; 3] = [0x100, 0x200, 0x0100_0000_0000_0003];
const LISTS: [(i32, &str, &str); 4] =
    [(31, "world", "anyone"), (1, "world", "anyone"), (31, "digest", "a:b"), (7, "ip", "10.0.0.0/8")];

impl Writer {
    fn acl(&mut self) -> Vec<Acl> {
        let (perms, scheme, id) = *self.dice.pick(&LISTS);
        vec![Acl { perms, id: Id::new(scheme, id) }]
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        let length = self.dice.below(40) as usize;
        (length > 0).then(|| vec![b'x'; length - 1])
    }

    fn header(&mut self) -> TxnHeader {
        self.zxid += 1;
        let time = WallMs(1_700_000_000_000 + self.zxid - self.dice.below(5) as i64);
        TxnHeader { session: SessionId(*self.dice.pick(&SESSIONS)), cxid: Xid(1), zxid: Zxid(self.zxid), time }
    }

    fn create(&mut self, model: &Model) -> Option<Txn<'static>> {
        let parents: Vec<&String> = model
            .nodes
            .iter()
            .filter(|(path, node)| {
                !path.starts_with("/zookeeper") && matches!(node.owner, 0 | CONTAINER_OWNER) && path.len() < 12
            })
            .map(|(path, _)| path)
            .collect();
        let parent = (*self.dice.pick(&parents)).clone();
        let path = format!("{}/{}", parent.trim_end_matches('/'), self.dice.below(12));
        if model.nodes.contains_key(&path) {
            return None;
        }
        let kind = match self.dice.below(8) {
            0 | 1 => CreateKind::Plain { two: false, ephemeral: true },
            2 => CreateKind::Container,
            3 => CreateKind::Ttl { ttl_ms: 1000 },
            _ => CreateKind::Plain { two: true, ephemeral: false },
        };
        Some(self.create_at(model, path, kind))
    }

    fn create_at(&mut self, model: &Model, path: String, kind: CreateKind) -> Txn<'static> {
        let parent_cversion = model.nodes[path::parent(&path).unwrap()].cversion + 1;
        let (data, acl) = (self.data().map(Into::into), self.acl().into());
        Txn::Create { kind, path: path.into(), data, acl, parent_cversion }
    }

    /// One step of setting up or taking down a quota over some path.
    fn quota(&mut self, model: &Model) -> Option<Txn<'static>> {
        let top = ["/0", "/1", "/1/2", "/3"][self.dice.below(4) as usize];
        let mut path = "/zookeeper/quota".to_string();
        for name in top[1..].split('/').chain(["zookeeper_stats"]) {
            path = format!("{path}/{name}");
            if !model.nodes.contains_key(&path) {
                return Some(match self.create_at(model, path, CreateKind::Plain { two: false, ephemeral: false }) {
                    Txn::Create { kind, path, acl, parent_cversion, .. } => {
                        Txn::Create { kind, path, data: None, acl, parent_cversion }
                    }
                    other => other,
                });
            }
        }
        let limits = format!("/zookeeper/quota{top}/zookeeper_limits");
        if model.nodes.contains_key(&limits) {
            return Some(Txn::Delete { path: limits.into(), container: false });
        }
        Some(self.create_at(model, limits, CreateKind::Plain { two: false, ephemeral: false }))
    }

    fn single(&mut self, model: &Model) -> Option<Txn<'static>> {
        let ours: Vec<&String> = model.nodes.keys().filter(|path| !path.starts_with("/zookeeper")).collect();
        let path = (*self.dice.pick(&ours)).clone();
        match self.dice.below(10) {
            0..4 => self.create(model),
            4..6 if path != "/" && model.children(&path).is_empty() => {
                Some(Txn::Delete { path: path.into(), container: false })
            }
            6 | 7 => {
                let version = model.nodes[&path].version + 1;
                Some(Txn::SetData { path: path.into(), data: self.data().map(Into::into), version })
            }
            8 => {
                let version = model.nodes[&path].aversion + 1;
                Some(Txn::SetAcl { path: path.into(), acl: self.acl().into(), version })
            }
            9 => self.quota(model),
            _ => None,
        }
    }

    /// A transaction that is legal now, applied to the model.
    fn write(&mut self, model: &mut Model) -> (TxnHeader, Txn<'static>) {
        let header = self.header();
        let txn = match self.dice.below(40) {
            0 => Txn::CloseSession { ephemerals: None },
            1..4 => {
                let mut draft = model.clone();
                let mut ops = Vec::new();
                for _ in 0..self.dice.below(6) {
                    if let Some(op) = self.single(&draft) {
                        draft.apply(&header, &op);
                        ops.push(op);
                    }
                }
                Txn::Multi(ops)
            }
            _ => std::iter::repeat_with(|| self.single(model)).flatten().next().unwrap(),
        };
        model.apply(&header, &txn);
        (header, txn)
    }
}

const RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

fn apply(tree: &mut Tree, (header, txn): &(TxnHeader, Txn<'_>)) -> SmallVec<[Change; 2]> {
    let mut changes = SmallVec::new();
    tree.apply(header, txn, &mut changes).unwrap();
    changes
}

#[test]
fn the_tree_a_copy_of_it_and_the_stupid_one_agree() {
    for seed in 0..6 {
        let mut writer = Writer { dice: Dice(seed), zxid: 0 };
        let (mut model, mut tree) = (Model::new(), Tree::new(RULES));
        let mut copy = tree.replicate();
        for step in 0..1500 {
            let txn = writer.write(&mut model);
            for change in &apply(&mut tree, &txn) {
                copy.absorb(change);
            }
            assert_eq!(tree.digest(), model.digest(), "seed {seed} step {step} {txn:?}");
            if step % 50 == 0 {
                model.must_equal(&tree);
                model.must_equal(&copy);
                same(&tree, &copy);
                assert_eq!(tree.digest(), tree.digest_from_scratch());
                // A copy made later is as good as one that followed.
                if step % 500 == 0 {
                    copy = tree.replicate();
                }
            }
        }
        model.must_equal(&copy);
    }
}

/// Equal to the order of children and the ids of lists.
fn same(one: &Tree, other: &Tree) {
    let walk = |tree: &Tree| {
        let tops = tree.below(super::slab::ROOT).map(|slot| tree.slab.at(slot).znode().clone());
        tops.collect::<Vec<_>>()
    };
    assert_eq!(walk(one), walk(other));
    assert!(one.acls().eq(other.acls()));
}

#[test]
fn a_rollback_leaves_nothing_behind() {
    for seed in 100..104 {
        let mut writer = Writer { dice: Dice(seed), zxid: 0 };
        let (mut model, mut tree) = (Model::new(), Tree::new(RULES));
        for _ in 0..250 {
            let before = tree.replicate();
            let (digest, next_acl, quotas) = (tree.digest(), tree.acls.next(), tree.quotas.clone());
            let users: Vec<u64> = tree.acls().map(|(id, _)| tree.acls.entry(id).unwrap().users).collect();
            let mut draft = model.clone();
            tree.savepoint();
            for _ in 0..writer.dice.below(12) {
                apply(&mut tree, &writer.write(&mut draft));
            }
            if writer.dice.below(3) == 0 {
                tree.release();
                model = draft;
                model.must_equal(&tree);
                continue;
            }
            tree.rollback();
            model.must_equal(&tree);
            same(&tree, &before);
            let users_now: Vec<u64> = tree.acls().map(|(id, _)| tree.acls.entry(id).unwrap().users).collect();
            assert_eq!((tree.digest(), tree.acls.next(), &tree.quotas), (digest, next_acl, &quotas));
            assert_eq!(users_now, users);
        }
    }
}

#[test]
fn a_snapshot_is_the_moment_it_began_and_loads_as_such() {
    for seed in 200..206 {
        let mut writer = Writer { dice: Dice(seed), zxid: 0 };
        let (mut model, mut tree) = (Model::new(), Tree::new(RULES));
        for round in 0..12 {
            for _ in 0..100 {
                apply(&mut tree, &writer.write(&mut model));
            }
            let (then, digest) = (model.clone(), tree.digest());
            tree.snapshot_begin();
            let mut loader = Tree::loader(RULES);
            tree.acls().for_each(|(id, list)| loader.acl(id, list.clone()));
            loop {
                let slice = 1 + writer.dice.below(12) as usize;
                let more = tree.snapshot_next(slice, &mut |node| {
                    loader.node(node.znode.clone(), node.pzxid, node.cversion);
                });
                if !more {
                    break;
                }
                for _ in 0..writer.dice.below(4) {
                    apply(&mut tree, &writer.write(&mut model));
                }
                if writer.dice.below(4) == 0 {
                    tree.savepoint();
                    let mut draft = model.clone();
                    for _ in 0..writer.dice.below(8) {
                        apply(&mut tree, &writer.write(&mut draft));
                    }
                    tree.rollback();
                }
            }
            model.must_equal(&tree);
            let loaded = loader.finish(0).unwrap_or_else(|fault| panic!("seed {seed} round {round}: {fault}"));
            // Usage is counted afresh by a loader; it may have drifted (a limit came later than its usage).
            let mut then = then;
            let limits = then.nodes.keys().filter(|path| path.ends_with("/zookeeper_limits"));
            for limit in limits.cloned().collect::<Vec<_>>() {
                let of = limit.strip_prefix("/zookeeper/quota").unwrap().strip_suffix("/zookeeper_limits").unwrap();
                then.recount(of);
            }
            then.must_equal(&loaded);
            assert_eq!(loaded.digest(), digest);
            assert_eq!(loaded.digest_from_scratch(), digest);
            if round % 2 == 0 {
                // Life goes on in the loaded one.
                (model, tree) = (then, loaded);
            }
        }
    }
}
