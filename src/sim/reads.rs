//! What a reply must say: the model at the reply's own zxid, nothing older, nothing newer.

use super::client::{Op, Reply, Slot, slots};
use super::judge::{NO_AUTH, NO_NODE, permits, valid};
use super::line::expect_error;
use super::model::{Model, Node, Step, shared};
use super::watches::{Mode, Table, Watches};
use crate::base::{Acl, Id, Perms, Stat};
use crate::codec::txn::Txn;
use crate::codec::{Malformed, Reader};

/// Who looks, and at what point of the commit order.
pub struct Viewer<'a> {
    pub model: &'a Model,
    pub zxid: i64,
    pub ids: &'a [Id],
    pub session: i64,
}

impl<'a> Viewer<'a> {
    fn readable(&self, path: &str, perms: i32) -> Result<&'a Node, i32> {
        let node = self.model.node_at(path, self.zxid).ok_or(NO_NODE)?;
        if permits(&node.acl, self.ids, perms) { Ok(node) } else { Err(NO_AUTH) }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(told: &T, due: &T) -> Result<(), String> {
    if told == due { Ok(()) } else { Err(format!("told {told:?}, due was {due:?} (invariants 2, 14)")) }
}

/// Judges the reply to a read.
pub fn check(viewer: &Viewer<'_>, op: &Op, reply: &mut Reply<'_>) -> Result<(), String> {
    let perms = if matches!(op, Op::GetAcl { .. }) { Perms::READ | Perms::ADMIN } else { Perms::READ };
    let node = match op {
        Op::Exists { path, .. } if path.contains('\0') => return expect_error(reply, -8),
        Op::Exists { path, .. }
        | Op::GetData { path, .. }
        | Op::GetAcl { path }
        | Op::GetChildren { path, .. }
        | Op::GetAllChildrenNumber { path } => match viewer.readable(path, perms) {
            Ok(node) => Some(node),
            Err(code) => return expect_error(reply, code),
        },
        _ => None,
    };
    expect_error(reply, 0)?;
    content(viewer, op, node, reply).map_err(|error| error.to_string())?
}

fn content(
    viewer: &Viewer<'_>,
    op: &Op,
    node: Option<&Node>,
    reply: &mut Reply<'_>,
) -> Result<Result<(), String>, Malformed> {
    let r = &mut reply.body;
    let stat = node.map(Node::stat).unwrap_or_default();
    let told_stat = |path: &str, r: &mut Reader<'_>| Ok::<_, Malformed>(shared(path, r.stat()?));
    let verdict = match (op, node) {
        (Op::Exists { path, .. }, _) => same(&told_stat(path, r)?, &stat),
        (Op::GetData { path, .. }, Some(node)) => {
            let told = (r.buffer()?, told_stat(path, r)?);
            same(&told, &(node.data.as_deref(), stat))
        }
        (Op::GetChildren { path, with_stat, .. }, Some(node)) => {
            let mut names: Vec<String> = r.strings()?.into_iter().map(|name| name.into_owned()).collect();
            names.sort_unstable();
            let told = (names, if *with_stat { told_stat(path, r)? } else { stat });
            same(&told, &(node.children.iter().cloned().collect(), stat))
        }
        (Op::GetAcl { path }, Some(node)) => {
            let list: Option<Vec<Acl>> = r.acl()?.unwrap_or_default().into_iter().collect();
            let told = (list.unwrap_or_default(), told_stat(path, r)?);
            same(&told, &(shown_acl(node, viewer.ids), stat))
        }
        (Op::GetAllChildrenNumber { path }, Some(_)) => {
            let prefix = if path == "/" { "/".to_string() } else { format!("{path}/") };
            let below = |at: &str| at.starts_with(&prefix) && at != "/";
            let count = viewer.model.tree_at(viewer.zxid).filter(|(at, _)| below(at)).count();
            same(&r.i32()?, &(count as i32))
        }
        (Op::GetEphemerals { prefix }, _) => {
            let mut told: Vec<String> = r.strings()?.into_iter().map(|path| path.into_owned()).collect();
            told.sort_unstable();
            let prefix = prefix.as_deref().map(str::trim).filter(|prefix| *prefix != "/").unwrap_or("");
            let due = viewer.model.ephemerals_at(viewer.session, viewer.zxid);
            same(&told, &due.into_iter().filter(|path| path.starts_with(prefix)).map(str::to_string).collect())
        }
        (Op::WhoAmI, _) => {
            let count = r.count()?.unwrap_or(0);
            let mut told = Vec::new();
            for _ in 0..count {
                told.push((r.string()?.into_owned(), r.string()?.into_owned()));
            }
            told.sort_unstable();
            let user = |id: &Id| match &*id.scheme {
                "digest" => id.id.split(':').next().unwrap_or_default().to_string(),
                _ => id.id.to_string(),
            };
            let mut due: Vec<_> = viewer.ids.iter().map(|id| (id.scheme.to_string(), user(id))).collect();
            due.sort_unstable();
            same(&told, &due)
        }
        (Op::MultiRead(ops), _) => {
            let told = slots(r)?;
            let due: Vec<Slot> = ops.iter().map(|op| read_slot(viewer, op)).collect();
            if told.len() != ops.len() {
                return Ok(same(&told.len(), &ops.len()));
            }
            let told = told.into_iter().zip(ops).map(|(slot, op)| comparable(slot, op)).collect();
            same(&told, &due)
        }
        (op, _) => Err(format!("{op:?} is not judged here")),
    };
    Ok(verdict.and_then(|()| if r.is_empty() { Ok(()) } else { Err("bytes behind the record".into()) }))
}

/// Names come in any order, and with the list of members its writer's own time.
fn comparable(slot: Slot, op: &Op) -> Slot {
    match (slot, op) {
        (Slot::Children(mut names), _) => {
            names.sort_unstable();
            Slot::Children(names)
        }
        (Slot::Data(data, stat), Op::GetData { path, .. }) => Slot::Data(data, shared(path, stat)),
        (other, _) => other,
    }
}

fn read_slot(viewer: &Viewer<'_>, op: &Op) -> Slot {
    let (Op::GetData { path, .. } | Op::GetChildren { path, .. }) = op else { unreachable!("a multiRead of {op:?}") };
    match (viewer.readable(path, Perms::READ), op) {
        (Err(code), _) => Slot::Error(code),
        (Ok(node), Op::GetData { .. }) => Slot::Data(node.data.as_deref().map(<[u8]>::to_vec), node.stat()),
        (Ok(node), _) => Slot::Children(node.children.iter().cloned().collect()),
    }
}

/// Who lacks ADMIN does not see the hashes of digest ids (parity OPR-02).
fn shown_acl(node: &Node, ids: &[Id]) -> Vec<Acl> {
    let mut list = node.acl.to_vec();
    if !permits(&list, ids, Perms::ADMIN) {
        for entry in list.iter_mut().filter(|entry| &*entry.id.scheme == "digest") {
            let user = entry.id.id.split(':').next().unwrap_or_default();
            entry.id = Id::new("digest", &format!("{user}:x"));
        }
    }
    list
}

/// The watch a read leaves behind (parity WA-11, WA-12).
pub fn arm(watches: &mut Watches, op: &Op, error: i32) {
    match op {
        Op::GetData { path, watch: true } if error == 0 => watches.arm(path, Table::Data, Mode::Standard),
        Op::GetChildren { path, watch: true, .. } if error == 0 => watches.arm(path, Table::Child, Mode::Standard),
        Op::Exists { path, watch: true } if error == 0 || (error == NO_NODE && valid(path)) => {
            watches.arm(path, Table::Data, Mode::Standard);
        }
        _ => {}
    }
}

/// Judges the reply to a write against its own transaction.
pub fn check_written(model: &Model, step: &Step, op: &Op, reply: &mut Reply<'_>) -> Result<(), String> {
    let zxid = step.header.zxid.0;
    let stat_of = |path: &str| model.node_at(path, zxid).map(|node| node.stat()).unwrap_or_default();
    if let Txn::Error { code } = step.txn {
        return expect_error(reply, code);
    }
    expect_error(reply, 0)?;
    let r = &mut reply.body;
    let verdict = match (op, &step.txn) {
        (Op::Create { code, .. }, Txn::Create { path, .. }) => {
            let told = r.string().map_err(|error| error.to_string())?;
            same(&told, path)?;
            if *code == 1 { Ok(()) } else { same(&r.stat().map_err(|error| error.to_string())?, &stat_of(path)) }
        }
        (Op::SetData { .. } | Op::SetAcl { .. }, Txn::SetData { path, .. } | Txn::SetAcl { path, .. }) => {
            same(&r.stat().map_err(|error| error.to_string())?, &stat_of(path))
        }
        (Op::Delete { .. }, Txn::Delete { .. }) | (Op::CloseSession, Txn::CloseSession { .. }) => Ok(()),
        (Op::Multi(ops), Txn::Multi(txns)) => {
            let told = slots(r).map_err(|error| error.to_string())?;
            check_slots(ops, txns, &told, &stat_of)
        }
        (_, txn) => Err(format!("its transaction is {txn:?}")),
    };
    verdict.and_then(|()| if r.is_empty() { Ok(()) } else { Err("bytes behind the record".into()) })
}

fn check_slots(ops: &[Op], txns: &[Txn<'_>], told: &[Slot], stat_of: &dyn Fn(&str) -> Stat) -> Result<(), String> {
    if told.len() != ops.len() || txns.len() != ops.len() {
        return Err(format!(
            "{} operations, {} transactions, {} slots (invariant 13)",
            ops.len(),
            txns.len(),
            told.len()
        ));
    }
    let failed = txns.iter().any(|txn| matches!(txn, Txn::Error { .. }));
    for (index, ((op, txn), slot)) in ops.iter().zip(txns).zip(told).enumerate() {
        // A slot shows the stat as its own operation left it; the model keeps the last of the multi. They
        // differ when a later operation touches the node or one of its children.
        let later_touches = |path: &str| {
            txns[index + 1..].iter().any(|txn| match txn {
                Txn::Create { path: other, .. }
                | Txn::Delete { path: other, .. }
                | Txn::SetData { path: other, .. } => other.starts_with(path),
                _ => false,
            })
        };
        let stat_fits = |path: &str, stat: &Stat| later_touches(path) || *stat == stat_of(path);
        let fits = match (op, txn, slot) {
            (_, Txn::Error { code }, Slot::Error(told)) => code == told,
            (_, _, Slot::Error(0)) if failed => true,
            _ if failed => false,
            (Op::Create { code: 1, .. }, Txn::Create { path, .. }, Slot::Path(told)) => path == told,
            (Op::Create { .. }, Txn::Create { path, .. }, Slot::PathStat(told, stat)) => {
                path == told && stat_fits(path, stat)
            }
            (Op::SetData { .. }, Txn::SetData { path, .. }, Slot::Stat(stat)) => stat_fits(path, stat),
            (Op::Delete { .. }, Txn::Delete { .. }, Slot::Done(2)) => true,
            (Op::Check { .. }, Txn::Check { .. }, Slot::Done(13)) => true,
            _ => false,
        };
        if !fits {
            return Err(format!("slot {index} says {slot:?} of {txn:?} (invariant 13)"));
        }
    }
    Ok(())
}
