//! Scheme `digest`: a name and a password become an id (parity A-24..A-29), and the rules of who is who.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use digest::Digest;

use super::acl::SUPER;
use crate::base::Id;

/// The hash in a digest id. ZK: `zookeeper.DigestAuthenticationProvider.digestAlg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DigestAlg {
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlg {
    /// The hash of that Java name, in any case; `None` for one that is not offered here (MD2, MD5).
    pub fn from_name(name: &str) -> Option<DigestAlg> {
        use DigestAlg::*;
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA" | "SHA1" | "SHA-1" => Sha1,
            "SHA-224" | "SHA224" => Sha224,
            "SHA-256" | "SHA256" => Sha256,
            "SHA-384" | "SHA384" => Sha384,
            "SHA-512" | "SHA512" => Sha512,
            "SHA-512/224" | "SHA512/224" => Sha512_224,
            "SHA-512/256" | "SHA512/256" => Sha512_256,
            "SHA3-224" => Sha3_224,
            "SHA3-256" => Sha3_256,
            "SHA3-384" => Sha3_384,
            "SHA3-512" => Sha3_512,
            _ => return None,
        })
    }

    fn base64(self, bytes: &[u8]) -> String {
        fn of<D: Digest>(bytes: &[u8]) -> String {
            STANDARD.encode(D::digest(bytes))
        }
        match self {
            DigestAlg::Sha1 => of::<sha1::Sha1>(bytes),
            DigestAlg::Sha224 => of::<sha2::Sha224>(bytes),
            DigestAlg::Sha256 => of::<sha2::Sha256>(bytes),
            DigestAlg::Sha384 => of::<sha2::Sha384>(bytes),
            DigestAlg::Sha512 => of::<sha2::Sha512>(bytes),
            DigestAlg::Sha512_224 => of::<sha2::Sha512_224>(bytes),
            DigestAlg::Sha512_256 => of::<sha2::Sha512_256>(bytes),
            DigestAlg::Sha3_224 => of::<sha3::Sha3_224>(bytes),
            DigestAlg::Sha3_256 => of::<sha3::Sha3_256>(bytes),
            DigestAlg::Sha3_384 => of::<sha3::Sha3_384>(bytes),
            DigestAlg::Sha3_512 => of::<sha3::Sha3_512>(bytes),
        }
    }
}

/// How this server judges identities.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRules {
    /// `zookeeper.skipACL=yes`: every list grants everything.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    pub digest_alg: DigestAlg,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: whoever proves this id stands above all lists.
    pub super_digest: Option<String>,
}

impl Default for AuthRules {
    fn default() -> AuthRules {
        AuthRules { skip_acl: false, digest_enabled: true, digest_alg: DigestAlg::default(), super_digest: None }
    }
}

/// The id that "user:password" proves: the user, a colon, and the hash of the whole (parity A-24).
pub fn digest_id(alg: DigestAlg, auth: &[u8]) -> String {
    let text = String::from_utf8_lossy(auth);
    let user = text.split_once(':').map_or(&*text, |(user, _)| user);
    format!("{user}:{}", alg.base64(text.as_bytes()))
}

/// The ids a connection gains by an auth packet of scheme `digest`; `None` when the scheme is off.
pub fn digest_ids(rules: &AuthRules, auth: &[u8]) -> Option<Vec<Id>> {
    if !rules.digest_enabled {
        return None;
    }
    let id = digest_id(rules.digest_alg, auth);
    let above = (rules.super_digest.as_ref() == Some(&id)).then(|| Id::new(SUPER, ""));
    Some(above.into_iter().chain([Id::new("digest", &id)]).collect())
}

/// Whether `text` may be the id of a `digest` entry: two parts around a colon, as Java splits (parity A-27).
pub fn is_digest_id(text: &str) -> bool {
    text.trim_end_matches(':').split(':').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_ones_zookeeper_makes() {
        for (auth, id) in [
            ("super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("user:pass", "user:smGaoVKd/cQkjm7b88GyorAUz20="),
            ("a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0="),
        ] {
            assert_eq!(digest_id(DigestAlg::Sha1, auth.as_bytes()), id);
        }
        assert!(digest_id(DigestAlg::Sha1, b"plain").starts_with("plain:"));
        // FIPS 180 and 202: the hashes of "abc".
        assert_eq!(DigestAlg::Sha256.base64(b"abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(DigestAlg::Sha3_256.base64(b"abc"), "Ophdp0/iJbIEXBcta9OQvYVfCG4+nVJbRr/iRRFDFTI=");
        assert_eq!(DigestAlg::from_name("sha3-512"), Some(DigestAlg::Sha3_512));
        assert_eq!(DigestAlg::from_name("MD5"), None);
    }

    #[test]
    fn the_right_digest_makes_super() {
        let id = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
        let rules = AuthRules { super_digest: Some(id.into()), ..AuthRules::default() };
        assert_eq!(digest_ids(&rules, b"super:test"), Some(vec![Id::new("super", ""), Id::new("digest", id)]));
        assert_eq!(digest_ids(&rules, b"super:wrong").unwrap().len(), 1);
        assert_eq!(digest_ids(&AuthRules { digest_enabled: false, ..rules }, b"super:test"), None);
    }

    #[test]
    fn a_digest_id_has_two_parts() {
        for good in ["a:b", ":b", "a:b:", "a:b::"] {
            assert!(is_digest_id(good), "{good}");
        }
        for bad in ["", "a", "a:", "::", "a:b:c", "a::c"] {
            assert!(!is_digest_id(bad), "{bad}");
        }
    }
}
