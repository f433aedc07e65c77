//! What a write must become, judged against the model at the zxid before it (invariants 1, 11, 12, 13, 15).
//!
//! The second, stupid `prep/`: one function per operation, in the order of parity 1.6, on the model's own tree.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::client::Op;
use super::model::{Model, Node, next_version};
use super::quotas::{QUOTA_EXCEEDED, usage_node};
use crate::base::{Acl, Id, Perms};
use crate::codec::txn::{CreateKind, Txn, TxnHeader};

pub const NO_NODE: i32 = -101;
pub const NO_AUTH: i32 = -102;
pub const BAD_ARGUMENTS: i32 = -8;
pub const MARSHALLING_ERROR: i32 = -5;
pub const UNIMPLEMENTED: i32 = -6;
pub const NO_WATCHER: i32 = -121;

/// The transaction `op` must leave, errors included. `None` if it is no write.
pub fn expected(model: &mut Model, header: &TxnHeader, op: &Op, ids: &[Id], extended: bool) -> Option<Txn<'static>> {
    let fail = |code| Txn::Error { code };
    Some(match op {
        Op::Multi(ops) => multi(model, header, ops, ids, extended),
        Op::CloseSession => {
            let owned = model.ephemerals_at(header.session.0, i64::MAX);
            let owned = owned.into_iter().map(|path| Cow::Owned(path.to_string())).collect();
            Txn::CloseSession { ephemerals: Some(owned) }
        }
        Op::Broken { .. } if op.is_write() => fail(MARSHALLING_ERROR),
        op if op.is_write() => single(model, op, ids, extended).unwrap_or_else(fail),
        _ => return None,
    })
}

/// Each operation is tried on the model itself, which is rewound afterwards.
fn multi(model: &mut Model, header: &TxnHeader, ops: &[Op], ids: &[Id], extended: bool) -> Txn<'static> {
    let mut done = Vec::new();
    let mut touched = BTreeSet::new();
    let mut failed = None;
    for op in ops {
        let txn = match single(model, op, ids, extended) {
            Ok(txn) => txn,
            Err(code) => {
                failed = Some(code);
                break;
            }
        };
        if let Txn::Create { path, .. } | Txn::Delete { path, .. } | Txn::SetData { path, .. } = &txn {
            touched
                .insert(parent_of(path).map_or("/", |parent| if parent.is_empty() { "/" } else { parent }).to_string());
            touched.insert(path.to_string());
            touched.extend(usage_node(path).map(str::to_string));
        }
        if let Err(why) = model.apply_one(header, &txn) {
            unreachable!("judged legal, but {why}");
        }
        done.push(txn);
    }
    model.rewind(header.zxid.0 - 1, Some(&touched));
    match failed {
        None => Txn::Multi(done),
        Some(code) => {
            // What passed before the failure stays in the record, as in the reference's; nothing of it applies.
            done.push(Txn::Error { code });
            done.resize(ops.len(), Txn::Error { code: -2 });
            Txn::Multi(done)
        }
    }
}

fn single(model: &Model, op: &Op, ids: &[Id], extended: bool) -> Result<Txn<'static>, i32> {
    match op {
        Op::Create { code, path, data, acl, flags, ttl } => {
            create(model, *code, path, data.as_deref(), acl.as_deref(), *flags, *ttl, ids, extended)
        }
        Op::Delete { path, version } => {
            let parent = parent_of(path).ok_or(BAD_ARGUMENTS)?;
            if matches!(path.as_str(), "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config") {
                return Err(BAD_ARGUMENTS);
            }
            require(found(model, parent)?, ids, Perms::DELETE)?;
            let node = found(model, path)?;
            version_after(node.version, *version)?;
            if node.children.is_empty() {
                Ok(Txn::Delete { path: Cow::Owned(path.clone()), container: false })
            } else {
                Err(-111)
            }
        }
        Op::SetData { path, data, version } => {
            let node = found_valid(model, path)?;
            require(node, ids, Perms::WRITE)?;
            let before = node.data.as_ref().map_or(0, |data| data.len());
            let after = data.as_ref().map_or(0, Vec::len);
            within_quota(model, path, 0, after as i64 - before as i64)?;
            let version = version_after(node.version, *version)?;
            Ok(Txn::SetData { path: Cow::Owned(path.clone()), data: data.clone().map(Cow::Owned), version })
        }
        Op::SetAcl { path, acl, version } => {
            if !valid(path) {
                return Err(BAD_ARGUMENTS);
            }
            let acl = normalised(acl.as_deref(), ids)?;
            let node = found(model, path)?;
            require(node, ids, Perms::ADMIN)?;
            let version = version_after(node.aversion, *version)?;
            Ok(Txn::SetAcl { path: Cow::Owned(path.clone()), acl: Cow::Owned(acl), version })
        }
        Op::Check { path, version } => {
            let node = found_valid(model, path)?;
            require(node, ids, Perms::READ)?;
            let version = version_after(node.version, *version)?;
            Ok(Txn::Check { path: Cow::Owned(path.clone()), version })
        }
        other => unreachable!("{other:?} is no write"),
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of one request")]
fn create(
    model: &Model,
    code: i32,
    path: &str,
    data: Option<&[u8]>,
    acl: Option<&[Acl]>,
    flags: i32,
    ttl: i64,
    ids: &[Id],
    extended: bool,
) -> Result<Txn<'static>, i32> {
    let wants_ttl = matches!(flags, 5 | 6);
    if !(0..=6).contains(&flags) {
        return Err(BAD_ARGUMENTS);
    }
    if wants_ttl && !extended {
        return Err(UNIMPLEMENTED);
    }
    if wants_ttl != (code == 21) || (wants_ttl && !(1..=0xff_ffff_ffff).contains(&ttl)) {
        return Err(BAD_ARGUMENTS);
    }
    let parent_path = parent_of(path).ok_or(BAD_ARGUMENTS)?;
    let acl = normalised(acl, ids)?;
    let parent = found(model, parent_path)?;
    require(parent, ids, Perms::CREATE)?;
    let sequential = matches!(flags, 2 | 3 | 6);
    let path = if sequential { format!("{path}{:010}", parent.cversion) } else { path.to_string() };
    if !valid(&path) {
        return Err(BAD_ARGUMENTS);
    }
    if model.node(&path).is_some() {
        return Err(-110);
    }
    if parent.session().is_some() {
        return Err(-108);
    }
    within_quota(model, &path, 1, data.map_or(0, <[u8]>::len) as i64)?;
    let kind = match code {
        19 => CreateKind::Container,
        21 => CreateKind::Ttl { ttl_ms: ttl },
        _ => CreateKind::Plain { two: code == 15, ephemeral: matches!(flags, 1 | 3) },
    };
    Ok(Txn::Create {
        kind,
        path: Cow::Owned(path),
        data: data.map(|bytes| Cow::Owned(bytes.to_vec())),
        acl: Cow::Owned(acl),
        parent_cversion: parent.cversion.wrapping_add(1),
    })
}

fn within_quota(model: &Model, path: &str, count_more: i64, bytes_more: i64) -> Result<(), i32> {
    if model.quota_allows(path, count_more, bytes_more) { Ok(()) } else { Err(QUOTA_EXCEEDED) }
}

fn found<'m>(model: &'m Model, path: &str) -> Result<&'m Rc<Node>, i32> {
    model.node(path).ok_or(NO_NODE)
}

fn found_valid<'m>(model: &'m Model, path: &str) -> Result<&'m Rc<Node>, i32> {
    if valid(path) { found(model, path) } else { Err(BAD_ARGUMENTS) }
}

fn version_after(current: i32, expected: i32) -> Result<i32, i32> {
    if expected == -1 || expected == current { Ok(next_version(current)) } else { Err(-103) }
}

fn require(node: &Node, ids: &[Id], perms: i32) -> Result<(), i32> {
    if permits(&node.acl, ids, perms) { Ok(()) } else { Err(NO_AUTH) }
}

/// "" for a top-level path; `None` for what has no slash or a NUL.
fn parent_of(path: &str) -> Option<&str> {
    if path.contains('\0') { None } else { path.rfind('/').map(|at| &path[..at]) }
}

/// The workload stays within ASCII, so only shape and control characters decide.
pub fn valid(path: &str) -> bool {
    path == "/"
        || (path.starts_with('/')
            && path[1..].split('/').all(|name| !name.is_empty() && name != "." && name != "..")
            && path.bytes().all(|byte| byte >= 0x20 && byte != 0x7f))
}

/// Whether one of `ids` may do one of `perms` (parity A-02). Addresses are compared whole: the workload names
/// no networks.
pub fn permits(acl: &[Acl], ids: &[Id], perms: i32) -> bool {
    let anyone = |entry: &Acl| &*entry.id.scheme == "world" && &*entry.id.id == "anyone";
    ids.iter().any(|id| &*id.scheme == "super")
        || acl.iter().any(|entry| entry.perms & perms != 0 && (anyone(entry) || ids.contains(&entry.id)))
}

/// What an ACL list becomes on its way in (parity A-10..A-17), for the schemes the workload uses.
fn normalised(acl: Option<&[Acl]>, ids: &[Id]) -> Result<Vec<Acl>, i32> {
    const INVALID_ACL: i32 = -114;
    let mut unique: Vec<&Acl> = Vec::new();
    for entry in acl.unwrap_or_default() {
        if !unique.contains(&entry) {
            unique.push(entry);
        }
    }
    if unique.is_empty() {
        return Err(INVALID_ACL);
    }
    let mut list = Vec::new();
    for entry in unique {
        match (&*entry.id.scheme, &*entry.id.id) {
            ("world", "anyone") => list.push(entry.clone()),
            ("auth", _) => {
                let before = list.len();
                let own = ids.iter().filter(|id| &*id.scheme == "digest");
                list.extend(own.map(|id| Acl { perms: entry.perms, id: id.clone() }));
                if list.len() == before {
                    return Err(INVALID_ACL);
                }
            }
            ("digest", id) if id.split(':').count() == 2 => list.push(entry.clone()),
            ("ip", id) if id.parse::<std::net::Ipv4Addr>().is_ok() => list.push(entry.clone()),
            _ => return Err(INVALID_ACL),
        }
    }
    Ok(list)
}
