//! Who may do what: lists judged, normalised on the way in, and redacted on the way out (parity 6.1, 6.2).

use super::auth::{AuthRules, is_digest_id};
use super::ip;
use crate::base::{Acl, ErrorCode, Id};
use crate::codec::request::RawAcl;

/// The caller's identity that stands above every list.
pub const SUPER: &str = "super";

fn is_world(id: &Id) -> bool {
    &*id.scheme == "world" && &*id.id == "anyone"
}

/// Whether any of the `wanted` permission bits is granted to a caller with these ids (parity ).
///
/// A null or empty list grants everything. ZK: ZooKeeperServer.checkACL.
pub fn permits(list: &[Acl], ids: &[Id], wanted: i32, rules: &AuthRules) -> bool {
    if rules.skip_acl || list.is_empty() {
        return true;
    }
    let granting = || list.iter().filter(|acl| acl.perms & wanted != 0).map(|acl| &acl.id);
    granting().any(is_world)
        || ids.iter().any(|id| &*id.scheme == SUPER)
        || granting().any(|entry| ids.iter().any(|id| matches(id, entry, rules)))
}

/// Whether a caller's id is meant by an entry, as its scheme sees it. A scheme nobody provides never matches.
fn matches(id: &Id, entry: &Id, rules: &AuthRules) -> bool {
    id.scheme == entry.scheme
        && match &*entry.scheme {
            "ip" => ip::matches(&id.id, &entry.id),
            "digest" => rules.digest_enabled && id.id == entry.id,
            _ => false,
        }
}

/// The list to store for the one a client sent (parity A-10..A-18); `InvalidAcl` if there is none.
///
/// ZK: PrepRequestProcessor.fixupACL.
pub fn normalise(raw: &RawAcl, ids: &[Id], rules: &AuthRules) -> Result<Vec<Acl>, ErrorCode> {
    let raw = raw.as_deref().unwrap_or_default();
    if raw.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let mut list = Vec::with_capacity(raw.len());
    for (at, acl) in raw.iter().enumerate() {
        let acl = acl.as_ref().ok_or(ErrorCode::InvalidAcl)?;
        if raw[..at].iter().flatten().any(|earlier| earlier == acl) {
            continue;
        }
        match &*acl.id.scheme {
            "world" if is_world(&acl.id) => list.push(acl.clone()),
            "auth" => {
                let before = list.len();
                let own = ids.iter().filter(|id| &*id.scheme == "digest" && rules.digest_enabled);
                list.extend(own.map(|id| Acl { perms: acl.perms, id: id.clone() }));
                if list.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            "ip" if ip::is_network(&acl.id.id) => list.push(acl.clone()),
            "digest" if rules.digest_enabled && is_digest_id(&acl.id.id) => list.push(acl.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(list)
}

/// The list as a caller without ADMIN sees it: no password hash (parity OPR-02).
pub fn redact(list: &[Acl]) -> Vec<Acl> {
    let hide = |acl: &Acl| match acl.id.id.split_once(':') {
        Some((user, _)) if &*acl.id.scheme == "digest" => {
            Acl { perms: acl.perms, id: Id::new("digest", &format!("{user}:x")) }
        }
        _ => acl.clone(),
    };
    list.iter().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Perms;

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    #[test]
    fn a_permission_is_granted_by_world_by_super_or_by_a_matching_entry() {
        let rules = AuthRules::default();
        let me = [Id::new("ip", "10.0.0.1"), Id::new("digest", "me:hash")];
        let read = Perms::READ;
        assert!(permits(&[], &[], read, &rules));
        assert!(permits(&[acl(read, "world", "anyone")], &[], read, &rules));
        assert!(!permits(&[acl(read, "world", "anyone")], &me, Perms::WRITE, &rules));
        assert!(permits(&[acl(read, "world", "anyone")], &me, Perms::WRITE | read, &rules));
        assert!(permits(&[acl(read, "digest", "me:hash")], &me, read, &rules));
        assert!(!permits(&[acl(read, "digest", "you:hash")], &me, read, &rules));
        assert!(permits(&[acl(read, "ip", "10.0.0.0/8")], &me, read, &rules));
        assert!(!permits(&[acl(read, "sasl", "me:hash")], &[Id::new("sasl", "me:hash")], read, &rules));
        assert!(!permits(&[acl(read, "world", "someone")], &me, read, &rules));
        assert!(permits(&[acl(0, "digest", "you:hash")], &[Id::new("super", "")], read, &rules));
        assert!(permits(&[acl(0, "digest", "you:hash")], &[], read, &AuthRules { skip_acl: true, ..rules.clone() }));
        let off = AuthRules { digest_enabled: false, ..rules };
        assert!(!permits(&[acl(read, "digest", "me:hash")], &me, read, &off));
    }

    #[test]
    fn lists_are_normalised_or_refused() {
        let rules = AuthRules::default();
        let me = [Id::new("ip", "10.0.0.1"), Id::new("digest", "me:h"), Id::new("super", ""), Id::new("digest", "i:h")];
        let fix = |list: &[Acl]| normalise(&Some(list.iter().cloned().map(Some).collect()), &me, &rules);
        let invalid = Err(ErrorCode::InvalidAcl);
        assert_eq!(normalise(&None, &me, &rules), invalid);
        assert_eq!(normalise(&Some(vec![]), &me, &rules), invalid);
        assert_eq!(normalise(&Some(vec![None]), &me, &rules), invalid);
        let open = acl(31, "world", "anyone");
        assert_eq!(fix(&[open.clone(), open.clone()]), Ok(vec![open.clone()]));
        assert_eq!(fix(&[acl(1, "world", "x")]), invalid);
        assert_eq!(fix(&[acl(1 << 20, "world", "anyone")]), Ok(vec![acl(1 << 20, "world", "anyone")]));
        // What `auth` stands for is not freed of duplicates again.
        assert_eq!(
            fix(&[acl(3, "digest", "me:h"), acl(3, "auth", "whatever")]),
            Ok(vec![acl(3, "digest", "me:h"), acl(3, "digest", "me:h"), acl(3, "digest", "i:h")])
        );
        assert_eq!(normalise(&Some(vec![Some(acl(3, "auth", ""))]), &me[..1], &rules), invalid);
        assert_eq!(fix(&[acl(1, "ip", "10.0.0.0/8")]), Ok(vec![acl(1, "ip", "10.0.0.0/8")]));
        assert_eq!(fix(&[acl(1, "ip", "10.0.0.0/99")]), invalid);
        for bad in ["nocolon", "a:", "a:b:c"] {
            assert_eq!(fix(&[acl(1, "digest", bad)]), invalid, "{bad}");
        }
        assert_eq!(fix(&[acl(1, "super", "")]), invalid);
        assert_eq!(fix(&[acl(1, "nobody", "x")]), invalid);
    }

    #[test]
    fn hashes_are_hidden_and_nothing_else() {
        let list = [acl(1, "digest", "u:a:b"), acl(2, "digest", "bare"), acl(3, "ip", "::1")];
        assert_eq!(redact(&list), [acl(1, "digest", "u:x"), acl(2, "digest", "bare"), acl(3, "ip", "::1")]);
    }
}
