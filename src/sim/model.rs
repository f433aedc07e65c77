//! The stupid tree: every state every znode ever had, by path and zxid.
//!
//! Folded from the commit order as the journal shows it, with none of the server's own code but the decoder of
//! transactions. It is slow, keeps everything, and tolerates nothing: a committed transaction that does not fit
//! the state before it is a violation by itself (invariants 2, 12, 13, 14, 16, 21, 42).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::base::{Acl, Perms, SessionId, Stat, WallMs, Zxid};
use crate::codec::txn::{CreateKind, Txn, TxnHeader};

/// `owner` of a container (parity ZN-12).
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// High byte of a TTL node's `owner` (parity ZN-13).
const TTL_BYTE: u64 = 0xff;

/// One version of one znode, with its children.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub data: Option<Rc<[u8]>>,
    pub acl: Rc<Vec<Acl>>,
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Stored: how many children were ever created.
    pub cversion: i32,
    pub aversion: i32,
    /// Stored, with the encodings of container and TTL.
    pub owner: i64,
    pub children: Rc<BTreeSet<String>>,
}

impl Node {
    pub fn stat(&self) -> Stat {
        Stat {
            czxid: Zxid(self.czxid),
            mzxid: Zxid(self.mzxid),
            ctime: WallMs(self.ctime),
            mtime: WallMs(self.mtime),
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(self.children.len() as i32),
            aversion: self.aversion,
            ephemeral_owner: SessionId(self.session().unwrap_or(0)),
            data_length: self.data.as_ref().map_or(0, |data| data.len() as i32),
            num_children: self.children.len() as i32,
            pzxid: Zxid(self.pzxid),
        }
    }

    /// The session an ephemeral dies with.
    pub fn session(&self) -> Option<i64> {
        let special = self.owner == 0 || self.owner == CONTAINER_OWNER || self.owner as u64 >> 56 == TTL_BYTE;
        (!special).then_some(self.owner)
    }

    pub fn is_container(&self) -> bool {
        self.owner == CONTAINER_OWNER
    }

    /// Milliseconds; `None` if it is no TTL node.
    pub fn ttl(&self) -> Option<i64> {
        (self.owner as u64 >> 56 == TTL_BYTE).then_some(self.owner & 0xff_ffff_ffff)
    }
}

/// What a committed change tells watchers, in order (parity WA-20..25).
#[derive(Clone, Debug)]
pub enum Trigger {
    /// The list is the one the READ filter judges by.
    Created(String, Rc<Vec<Acl>>),
    Deleted(String, Rc<Vec<Acl>>),
    DataChanged(String, Rc<Vec<Acl>>),
    ChildrenChanged(String, Rc<Vec<Acl>>),
}

/// One transaction of the commit order.
#[derive(Clone, Debug)]
pub struct Step {
    pub header: TxnHeader,
    pub txn: Txn<'static>,
    /// Of the tree afterwards.
    pub digest: i64,
    pub triggers: Vec<Trigger>,
}

const CONFIG: &str = "/zookeeper/config";

/// What all servers agree on. When each wrote its list of members is its own affair.
pub fn shared(path: &str, stat: Stat) -> Stat {
    Stat { mtime: if path == CONFIG { WallMs(0) } else { stat.mtime }, ..stat }
}

type Versions<T> = Vec<(i64, Option<T>)>;

/// All states from the first to the last proposed zxid.
pub struct Model {
    nodes: BTreeMap<String, Versions<Rc<Node>>>,
    sessions: BTreeMap<i64, Versions<i32>>,
    /// By zxid. Consecutive within an epoch; the next epoch begins at its 1.
    steps: Vec<Step>,
    digest: i64,
    triggers: Vec<Trigger>,
    /// Hard limits are enforced.
    pub quotas: bool,
}

impl Model {
    /// The tree of a server that never ran (parity ZN-31, ZN-32).
    pub fn new() -> Model {
        let mut model = Model {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            steps: Vec::new(),
            digest: 0,
            triggers: Vec::new(),
            quotas: false,
        };
        let open = Rc::new(vec![Acl { perms: Perms::ALL, id: crate::base::Id::new("world", "anyone") }]);
        let read_only = Rc::new(vec![Acl { perms: Perms::READ, id: crate::base::Id::new("world", "anyone") }]);
        let plain = |children: &[&str]| Node {
            data: Some(Rc::from(&b""[..])),
            acl: open.clone(),
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
            children: Rc::new(children.iter().map(|name| (*name).to_string()).collect()),
        };
        model.put(0, "/", Some(plain(&["zookeeper"])));
        model.put(0, "/zookeeper", Some(plain(&["config", "quota"])));
        model.put(0, "/zookeeper/quota", Some(plain(&[])));
        model.put(0, CONFIG, Some(Node { acl: read_only, aversion: -1, ..plain(&[]) }));
        model
    }

    /// `/zookeeper/config` holds the list of members, as each of them writes it there by itself (parity ZN-33).
    pub fn show_members(&mut self, text: &str) {
        let node = Node::clone(self.node(CONFIG).expect("there from the start"));
        self.put(0, CONFIG, Some(Node { data: Some(Rc::from(text.as_bytes())), version: -1, ..node }));
    }

    /// The zxid of the last step.
    pub fn last(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.header.zxid.0)
    }

    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// The digest of the tree at `zxid`.
    pub fn digest_at(&self, zxid: i64) -> i64 {
        match self.steps[..self.end_at(zxid)].last() {
            Some(step) => step.digest,
            None => FRESH_DIGEST,
        }
    }

    pub fn step(&self, zxid: i64) -> Option<&Step> {
        self.steps[..self.end_at(zxid)].last().filter(|step| step.header.zxid.0 == zxid)
    }

    /// The first step behind `zxid`.
    pub fn step_after(&self, zxid: i64) -> Option<&Step> {
        self.steps.get(self.end_at(zxid))
    }

    /// How many steps are at or before `zxid`.
    fn end_at(&self, zxid: i64) -> usize {
        self.steps.partition_point(|step| step.header.zxid.0 <= zxid)
    }

    /// The znode as it was at `zxid`. "" is an alias of "/".
    pub fn node_at(&self, path: &str, zxid: i64) -> Option<&Rc<Node>> {
        at(self.nodes.get(if path.is_empty() { "/" } else { path })?, zxid)
    }

    pub fn node(&self, path: &str) -> Option<&Rc<Node>> {
        self.node_at(path, i64::MAX)
    }

    /// The negotiated timeout, if the session lives at `zxid`.
    pub fn session_at(&self, session: i64, zxid: i64) -> Option<i32> {
        at(self.sessions.get(&session)?, zxid).copied()
    }

    pub fn session(&self, session: i64) -> Option<i32> {
        self.session_at(session, i64::MAX)
    }

    /// Whether the session lives at any zxid from `first` to `last`.
    pub fn session_lives_within(&self, session: i64, first: i64, last: i64) -> bool {
        let begins_within = |versions: &Versions<i32>| {
            versions.iter().any(|(at, timeout)| (first..=last).contains(at) && timeout.is_some())
        };
        self.session_at(session, first).is_some() || self.sessions.get(&session).is_some_and(begins_within)
    }

    /// Whether any part of the history knows this id.
    pub fn session_ever(&self, session: i64) -> bool {
        self.sessions.contains_key(&session)
    }

    pub fn sessions_at(&self, zxid: i64) -> impl Iterator<Item = (i64, i32)> + '_ {
        self.sessions.iter().filter_map(move |(id, versions)| Some((*id, *at(versions, zxid)?)))
    }

    /// Every znode of the tree at `zxid`, by path.
    pub fn tree_at(&self, zxid: i64) -> impl Iterator<Item = (&str, &Rc<Node>)> {
        self.nodes.iter().filter_map(move |(path, versions)| Some((path.as_str(), at(versions, zxid)?)))
    }

    /// Every znode there is now whose path is `first` or sorts after it.
    pub(super) fn nodes_from(&self, first: &str) -> impl Iterator<Item = (&str, &Rc<Node>)> {
        let from = (std::ops::Bound::Included(first), std::ops::Bound::Unbounded);
        self.nodes.range::<str, _>(from).filter_map(|(path, versions)| Some((path.as_str(), at(versions, i64::MAX)?)))
    }

    /// Paths of the session's ephemerals at `zxid`, sorted.
    pub fn ephemerals_at(&self, session: i64, zxid: i64) -> Vec<&str> {
        self.tree_at(zxid).filter(|(_, node)| node.session() == Some(session)).map(|(path, _)| path).collect()
    }

    /// Applies the next transaction. The error says what does not fit.
    pub fn apply(&mut self, header: TxnHeader, txn: Txn<'static>) -> Result<(), String> {
        let zxid = header.zxid.0;
        if !follows(self.last(), zxid) {
            return Err(format!("zxid {zxid:#x} follows {:#x} (invariant 21)", self.last()));
        }
        self.triggers.clear();
        match &txn {
            Txn::Multi(ops) => {
                if !txn.is_failed_multi() {
                    for op in ops {
                        self.apply_one(&header, op)?;
                    }
                }
            }
            single => self.apply_one(&header, single)?,
        }
        let triggers = std::mem::take(&mut self.triggers);
        self.steps.push(Step { header, txn, digest: self.digest, triggers });
        Ok(())
    }

    /// Applies one operation at `header.zxid` without counting it as a step; for judging a multi.
    pub fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        let zxid = header.zxid.0;
        match txn {
            Txn::Create { kind, path, data, acl, parent_cversion } => {
                let owner = match kind {
                    CreateKind::Plain { ephemeral: true, .. } => header.session.0,
                    CreateKind::Plain { .. } => 0,
                    CreateKind::Container => CONTAINER_OWNER,
                    CreateKind::Ttl { ttl_ms } => (TTL_BYTE << 56) as i64 | ttl_ms,
                };
                let node = Node {
                    data: data.as_ref().map(|bytes| Rc::from(&bytes[..])),
                    acl: Rc::new(acl.to_vec()),
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: header.time.0,
                    mtime: header.time.0,
                    version: 0,
                    cversion: 0,
                    aversion: 0,
                    owner,
                    children: Rc::new(BTreeSet::new()),
                };
                if let Some(session) = node.session()
                    && self.session(session).is_none()
                {
                    return Err(format!("{path} belongs to session {session:#x}, which does not live"));
                }
                self.insert(zxid, path, node, *parent_cversion)
            }
            Txn::Delete { path, .. } => self.remove(zxid, path),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                let mut node = self.must(path)?;
                if *version != next_version(node.version) {
                    return Err(format!("setData {path} to version {version} from {}", node.version));
                }
                (node.version, node.mzxid, node.mtime) = (*version, zxid, header.time.0);
                node.data = data.as_ref().map(|bytes| Rc::from(&bytes[..]));
                self.triggers.push(Trigger::DataChanged(path.to_string(), node.acl.clone()));
                self.put(zxid, path, Some(node));
                self.settle_usage(zxid, path);
                Ok(())
            }
            Txn::SetAcl { path, acl, version } => {
                let mut node = self.must(path)?;
                if *version != next_version(node.aversion) {
                    return Err(format!("setACL {path} to version {version} from {}", node.aversion));
                }
                node.aversion = *version;
                node.acl = Rc::new(acl.to_vec());
                self.put(zxid, path, Some(node));
                Ok(())
            }
            Txn::Check { path, .. } => self.must(path).map(drop),
            Txn::Multi(_) => Err("a multi inside a multi".into()),
            Txn::CreateSession { timeout_ms } => {
                let id = header.session.0;
                if self.session_ever(id) {
                    return Err(format!("session id {id:#x} was issued before (invariant 18)"));
                }
                self.sessions.insert(id, vec![(zxid, Some(*timeout_ms))]);
                Ok(())
            }
            Txn::CloseSession { ephemerals } => self.close_session(zxid, header.session.0, ephemerals.as_deref()),
            Txn::Error { .. } => Ok(()),
        }
    }

    fn close_session(
        &mut self,
        zxid: i64,
        id: i64,
        listed: Option<&[std::borrow::Cow<'_, str>]>,
    ) -> Result<(), String> {
        let mut named: Vec<&str> = listed.ok_or("closeSession without a list")?.iter().map(|path| &**path).collect();
        let order: Vec<String> = named.iter().map(|path| (*path).to_string()).collect();
        named.sort_unstable();
        let owned = self.ephemerals_at(id, zxid);
        if named != owned {
            return Err(format!("closeSession of {id:#x} lists {named:?}, but it owns {owned:?}"));
        }
        for path in order {
            self.remove(zxid, &path)?;
        }
        match self.session(id) {
            Some(_) => self.sessions.entry(id).or_default().push((zxid, None)),
            None => return Err(format!("closeSession of {id:#x}, which does not live")),
        }
        Ok(())
    }

    fn must(&self, path: &str) -> Result<Node, String> {
        self.node(path).map(|node| Node::clone(node)).ok_or_else(|| format!("{path} does not exist"))
    }

    fn insert(&mut self, zxid: i64, path: &str, node: Node, parent_cversion: i32) -> Result<(), String> {
        let (parent_path, name) = split(path).ok_or_else(|| format!("create {path}"))?;
        let mut parent = self.must(parent_path)?;
        if self.node(path).is_some() {
            return Err(format!("{path} exists already"));
        }
        if parent_cversion != parent.cversion.wrapping_add(1) {
            return Err(format!("create {path} raises cversion {} to {parent_cversion}", parent.cversion));
        }
        parent.cversion = parent_cversion;
        parent.pzxid = zxid;
        Rc::make_mut(&mut parent.children).insert(name.to_string());
        self.triggers.push(Trigger::Created(path.to_string(), node.acl.clone()));
        self.triggers.push(Trigger::ChildrenChanged(parent_path.to_string(), parent.acl.clone()));
        self.put(zxid, parent_path, Some(parent));
        self.put(zxid, path, Some(node));
        self.settle_usage(zxid, path);
        Ok(())
    }

    fn remove(&mut self, zxid: i64, path: &str) -> Result<(), String> {
        let node = self.must(path)?;
        let (parent_path, name) = split(path).ok_or_else(|| format!("delete {path}"))?;
        let mut parent = self.must(parent_path)?;
        if !node.children.is_empty() {
            return Err(format!("delete {path}, which has children"));
        }
        parent.pzxid = zxid;
        Rc::make_mut(&mut parent.children).remove(name);
        self.triggers.push(Trigger::Deleted(path.to_string(), node.acl.clone()));
        self.triggers.push(Trigger::ChildrenChanged(parent_path.to_string(), parent.acl.clone()));
        self.put(zxid, parent_path, Some(parent));
        self.put(zxid, path, None);
        self.settle_usage(zxid, path);
        Ok(())
    }

    pub(super) fn put(&mut self, zxid: i64, path: &str, node: Option<Node>) {
        let before = self.node(path).map_or(0, |node| node_digest(path, node));
        let after = node.as_ref().map_or(0, |node| node_digest(path, node));
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        let node = node.map(Rc::new);
        let versions = match self.nodes.get_mut(path) {
            Some(versions) => versions,
            None => self.nodes.entry(path.to_string()).or_default(),
        };
        match versions.last_mut() {
            Some((last, slot)) if *last == zxid => *slot = node,
            _ => versions.push((zxid, node)),
        }
    }

    /// Forgets everything after `zxid`: what a crash took away, or what a failed multi tried. `paths` limits the
    /// work to what that attempt can have touched.
    pub fn rewind(&mut self, zxid: i64, paths: Option<&BTreeSet<String>>) {
        fn cut<T>(versions: &mut Versions<T>, zxid: i64) {
            while versions.last().is_some_and(|(at, _)| *at > zxid) {
                versions.pop();
            }
        }
        match paths {
            Some(paths) => {
                for path in paths {
                    if let Some(versions) = self.nodes.get_mut(path) {
                        cut(versions, zxid);
                        if versions.is_empty() {
                            self.nodes.remove(path);
                        }
                    }
                }
            }
            None => {
                self.nodes.values_mut().for_each(|versions| cut(versions, zxid));
                self.nodes.retain(|_, versions| !versions.is_empty());
                self.sessions.values_mut().for_each(|versions| cut(versions, zxid));
                self.sessions.retain(|_, versions| !versions.is_empty());
            }
        }
        self.steps.truncate(self.end_at(zxid));
        self.digest = self.digest_at(zxid);
        self.triggers.clear();
    }
}

/// Whether `zxid` may come right behind `last`: the next number, or the first of a later epoch.
pub fn follows(last: i64, zxid: i64) -> bool {
    zxid == last + 1 || (zxid >> 32 > last >> 32 && zxid as u32 == 1)
}

/// The digest of a tree nobody wrote to (spec: disk formats 5).
pub const FRESH_DIGEST: i64 = 1_371_985_504;

/// The last entry at or before `zxid`.
fn at<T>(versions: &Versions<T>, zxid: i64) -> Option<&T> {
    let end = versions.partition_point(|(at, _)| *at <= zxid);
    versions.get(end.checked_sub(1)?)?.1.as_ref()
}

/// Versions skip -1, which means "do not check" (parity ZN-05).
pub fn next_version(version: i32) -> i32 {
    if version == -2 { 0 } else { version.wrapping_add(1) }
}

/// Parent and name; `None` for "/" and what is no absolute path.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    let (parent, name) = (&path[..slash], &path[slash + 1..]);
    (path != "/").then_some((if parent.is_empty() { "/" } else { parent }, name))
}

/// One znode's part of the tree's digest (spec: disk formats 5).
fn node_digest(path: &str, node: &Node) -> i64 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == "/" { b"" } else { path.as_bytes() });
    crc.update(node.data.as_deref().unwrap_or_default());
    for number in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime] {
        crc.update(&number.to_be_bytes());
    }
    for number in [node.version, node.cversion, node.aversion] {
        crc.update(&number.to_be_bytes());
    }
    crc.update(&node.owner.to_be_bytes());
    i64::from(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fresh_tree_has_the_documented_digest() {
        assert_eq!(Model::new().digest(), FRESH_DIGEST);
    }
}
