//! Judging the four creates (parity OPE-05, OPE-06). ZK: PrepRequestProcessor.pRequest2TxnCreate.

use std::borrow::Cow;

use super::{Judge, parent_of};
use crate::base::{ErrorCode, Perms, path};
use crate::codec::opcode::OpCode;
use crate::codec::request::CreateRequest;
use crate::codec::txn::{CreateKind, Txn};
use crate::tree::acl::normalise;
use crate::tree::{TTL_MAX_MS, ZnodeKind, is_dead_limit_path};

/// What the flags word asks for (ZK: CreateMode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mode {
    sequential: bool,
    container: bool,
    ttl: bool,
}

impl Mode {
    fn from_flags(flags: i32) -> Option<Mode> {
        if !(0..=6).contains(&flags) {
            return None;
        }
        Some(Mode { sequential: matches!(flags, 2 | 3 | 6), container: flags == 4, ttl: matches!(flags, 5 | 6) })
    }
}

impl Judge<'_> {
    pub(super) fn create<'a>(&self, request: &CreateRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let mode = Mode::from_flags(request.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.ttl && !self.rules.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        match request.ttl {
            Some(ttl) if mode.ttl && !(1..=TTL_MAX_MS).contains(&ttl) => return Err(ErrorCode::BadArguments),
            None if mode.ttl => return Err(ErrorCode::BadArguments),
            // The reference lets a negative one pass and falls over when it applies the transaction (UB-03).
            Some(_) if !mode.ttl => return Err(ErrorCode::BadArguments),
            _ => {}
        }
        if request.is_ephemeral() {
            self.ephemerals?;
        }
        let parent_path = parent_of(&request.path)?;
        let acl = normalise(&request.acl, self.ids, &self.rules.auth)?;
        let parent = self.node(parent_path)?;
        self.require(&parent, Perms::CREATE)?;

        let created = parent.stored_cversion();
        let path = if mode.sequential {
            Cow::Owned(format!("{}{}", request.path, sequence_suffix(created)))
        } else {
            request.path.clone()
        };
        if !path::is_valid(&path) || is_dead_limit_path(&path) {
            // The second: a limit on nothing, which the reference cannot apply (UB-04).
            return Err(ErrorCode::BadArguments);
        }
        if self.tree.get(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind(), ZnodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.within_quota(&path, 1, request.data.map_or(0, <[u8]>::len) as i64)?;
        let kind = match (request.op, request.ttl) {
            (OpCode::CreateContainer, _) => CreateKind::Container,
            (OpCode::CreateTtl, Some(ttl_ms)) => CreateKind::Ttl { ttl_ms },
            (op, _) => CreateKind::Plain { two: op == OpCode::Create2, ephemeral: request.is_ephemeral() },
        };
        Ok(Txn::Create {
            kind,
            path,
            data: request.data.map(Cow::Borrowed),
            acl: Cow::Owned(acl),
            parent_cversion: created.wrapping_add(1),
        })
    }
}

/// The suffix of a sequential znode: the parent's creation count, ten digits wide, sign included
/// (parity ZN-24, ZN-26; Java's `%010d`).
fn sequence_suffix(created: i32) -> String {
    format!("{created:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_ten_wide_and_overflow_as_javas_do() {
        assert_eq!(sequence_suffix(7), "0000000007");
        assert_eq!(sequence_suffix(i32::MAX), "2147483647");
        assert_eq!(sequence_suffix(i32::MIN), "-2147483648");
        assert_eq!(sequence_suffix(-1), "-000000001");
    }

    #[test]
    fn flags_name_seven_modes_and_no_more() {
        assert!(Mode::from_flags(-1).is_none() && Mode::from_flags(7).is_none());
        assert!(Mode::from_flags(3).is_some_and(|mode| mode.sequential && !mode.ttl));
        assert!(Mode::from_flags(6).is_some_and(|mode| mode.ttl && mode.sequential));
        assert!(Mode::from_flags(4).is_some_and(|mode| mode.container && !mode.sequential));
    }
}
