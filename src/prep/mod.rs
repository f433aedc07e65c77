//! A request becomes a transaction, or an error code, judged against a tree that already holds every earlier
//! request's effect (applied or still on its way to disk). ZK: PrepRequestProcessor.pRequest2Txn.
//!
//! The order of the checks is part of the protocol: the first that fails decides the code a client sees
//! (parity 1.6). Does not know: sessions' fate, zxids, or where the transaction goes.

mod create;

use std::borrow::Cow;

use crate::base::{Acl, ErrorCode, Id, Perms, path};
use crate::codec::request::{MultiOp, RawAcl, Request};
use crate::codec::txn::Txn;
use crate::tree::acl::{normalise, permits};
use crate::tree::auth::AuthRules;
use crate::tree::{Node, Tree};

/// The switches of configuration that decide what is legal.
#[derive(Clone, Debug)]
pub struct Rules {
    pub auth: AuthRules,
    /// TTL nodes may be made (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Hard quotas refuse writes (`enforceQuota`).
    pub enforce_quota: bool,
}

/// What a request is judged with.
pub struct Judge<'j> {
    pub tree: &'j Tree,
    pub rules: &'j Rules,
    /// Who asks.
    pub ids: &'j [Id],
    /// Whether an ephemeral may belong to the session that asks; if not, the code it is refused with.
    pub ephemerals: Result<(), ErrorCode>,
}

impl Judge<'_> {
    /// The transaction `request` asks for.
    ///
    /// Errors: the code the client is answered with. Only writes outside multi come here; `None` for a
    /// request that makes no transaction of its own.
    pub fn judge<'a>(&self, request: &Request<'a>) -> Option<Result<Txn<'a>, ErrorCode>> {
        Some(match request {
            Request::Create(create) => self.create(create),
            Request::Delete { path, version } => self.delete(path.clone(), *version),
            Request::SetData { path, data, version } => self.set_data(path.clone(), *data, *version),
            Request::SetAcl { path, acl, version } => self.set_acl(path.clone(), acl, *version),
            _ => return None,
        })
    }

    /// One operation of a multi, the effects of those before it being in the tree already (parity MU-14).
    pub fn judge_op<'a>(&self, op: &MultiOp<'a>) -> Result<Txn<'a>, ErrorCode> {
        match op {
            MultiOp::Create(create) => self.create(create),
            MultiOp::Delete { path, version } => self.delete(path.clone(), *version),
            MultiOp::SetData { path, data, version } => self.set_data(path.clone(), *data, *version),
            MultiOp::Check { path, version } => self.check(path.clone(), *version),
        }
    }

    fn delete<'a>(&self, path: Cow<'a, str>, version: i32) -> Result<Txn<'a>, ErrorCode> {
        let parent = parent_of(&path)?;
        if matches!(&*path, "/" | path::ZOOKEEPER | path::QUOTA | path::CONFIG) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.node(parent)?;
        self.require(&parent, Perms::DELETE)?;
        let node = self.node(&path)?;
        next_version(node.stat().version, version)?;
        if node.num_children() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        Ok(Txn::Delete { path, container: false })
    }

    /// The background reaper's delete, judged anew when its turn comes (parity ZN-47).
    pub fn delete_container(&self, path: &str) -> Result<Txn<'static>, ErrorCode> {
        let node = self.node(path)?;
        if node.num_children() > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if node.stat().ephemeral_owner != crate::base::SessionId::NONE {
            return Err(ErrorCode::BadVersion);
        }
        Ok(Txn::Delete { path: Cow::Owned(path.to_owned()), container: true })
    }

    fn set_data<'a>(&self, path: Cow<'a, str>, data: Option<&'a [u8]>, version: i32) -> Result<Txn<'a>, ErrorCode> {
        let node = self.valid_node(&path)?;
        self.require(&node, Perms::WRITE)?;
        let delta = data.map_or(0, <[u8]>::len) as i64 - node.data().map_or(0, <[u8]>::len) as i64;
        if delta != 0 {
            self.within_quota(&path, 0, delta)?;
        }
        let version = next_version(node.stat().version, version)?;
        Ok(Txn::SetData { path, data: data.map(Cow::Borrowed), version })
    }

    fn set_acl<'a>(&self, path: Cow<'a, str>, acl: &RawAcl, version: i32) -> Result<Txn<'a>, ErrorCode> {
        if !path::is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl: Vec<Acl> = normalise(acl, self.ids, &self.rules.auth)?;
        let node = self.node(&path)?;
        self.require(&node, Perms::ADMIN)?;
        let version = next_version(node.stat().aversion, version)?;
        Ok(Txn::SetAcl { path, acl: Cow::Owned(acl), version })
    }

    fn check<'a>(&self, path: Cow<'a, str>, version: i32) -> Result<Txn<'a>, ErrorCode> {
        let node = self.valid_node(&path)?;
        self.require(&node, Perms::READ)?;
        let version = next_version(node.stat().version, version)?;
        Ok(Txn::Check { path, version })
    }

    fn node(&self, path: &str) -> Result<Node<'_>, ErrorCode> {
        self.tree.get(path).ok_or(ErrorCode::NoNode)
    }

    fn valid_node(&self, path: &str) -> Result<Node<'_>, ErrorCode> {
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        self.node(path)
    }

    fn require(&self, node: &Node<'_>, perms: i32) -> Result<(), ErrorCode> {
        if permits(node.acl(), self.ids, perms, &self.rules.auth) { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn within_quota(&self, path: &str, count_delta: i64, bytes_delta: i64) -> Result<(), ErrorCode> {
        if !self.rules.enforce_quota || self.tree.quota_allows(path, count_delta, bytes_delta) {
            Ok(())
        } else {
            Err(ErrorCode::QuotaExceeded)
        }
    }
}

/// The parent's path of something to be created or deleted. The reference splits before it validates, so a
/// path without a leading slash is told "no node" later, and only one without any slash is a bad argument.
fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    match path.rfind('/') {
        Some(at) if !path.contains('\0') => Ok(&path[..at]),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// The version after a change made under the condition `expected` (-1: none).
///
/// A counter that wraps skips -1, which no client could ever name as expected (parity ZN-05, trunk's rule).
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_wraps_skips_minus_one() {
        assert_eq!(next_version(4, -1), Ok(5));
        assert_eq!(next_version(4, 4), Ok(5));
        assert_eq!(next_version(4, 3), Err(ErrorCode::BadVersion));
        assert_eq!(next_version(i32::MAX, -1), Ok(i32::MIN));
        assert_eq!(next_version(-2, -1), Ok(0));
    }

    #[test]
    fn only_a_path_without_any_slash_is_a_bad_argument_at_the_split() {
        assert_eq!(parent_of("/a"), Ok(""));
        assert_eq!(parent_of("a/b"), Ok("a"));
        assert_eq!(parent_of("a"), Err(ErrorCode::BadArguments));
        assert_eq!(parent_of("/a\0"), Err(ErrorCode::BadArguments));
    }
}
