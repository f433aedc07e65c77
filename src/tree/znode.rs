//! One version of one znode: immutable, shared between the trees of all cores, one allocation.

use crate::base::{SessionId, WallMs, Zxid};
use smallvec::SmallVec;
use triomphe::ThinArc;

/// An interned ACL list. 0 is `world:anyone` with every permission and is never in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AclId(pub u32);

impl AclId {
    pub const OPEN: AclId = AclId(0);
}

/// What never changes without a new version. Children, pzxid and cversion are the index's: they move when
/// the znode itself does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: WallMs,
    pub mtime: WallMs,
    /// As stored: session id, 0, or the encodings of container and TTL (parity ZN-12, ZN-13).
    pub owner: i64,
    pub version: i32,
    pub aversion: i32,
    pub acl: AclId,
}

/// What every znode has. What most do not (an owner, a change after the creation) stands in front of the path only where
/// there is any: the flags in `path_bytes` tell.
#[derive(Clone, Copy)]
struct Header {
    czxid: Zxid,
    ctime: WallMs,
    acl: AclId,
    /// With [`NO_DATA`], [`OWNED`] and [`CHANGED`].
    path_bytes: u32,
}

const _: () = assert!(size_of::<Header>() == 24);

/// There is no data at all, which is not the same as empty data.
const NO_DATA: u32 = 1 << 31;
/// The owner is not 0.
const OWNED: u32 = 1 << 30;
/// mzxid, mtime, version or aversion are not what a creation makes them.
const CHANGED: u32 = 1 << 29;
const PATH_BYTES: u32 = CHANGED - 1;

/// The fields of [`Meta`] that a change after the creation moves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Later {
    mzxid: Zxid,
    mtime: WallMs,
    version: i32,
    aversion: i32,
}

const OWNER_BYTES: usize = size_of::<i64>();
const LATER_BYTES: usize = 24;

impl Later {
    fn of_a_creation(czxid: Zxid, ctime: WallMs) -> Later {
        Later { mzxid: czxid, mtime: ctime, version: 0, aversion: 0 }
    }

    fn to_bytes(self) -> [u8; LATER_BYTES] {
        let mut bytes = [0; LATER_BYTES];
        bytes[..8].copy_from_slice(&self.mzxid.0.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.mtime.0.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.version.to_ne_bytes());
        bytes[20..].copy_from_slice(&self.aversion.to_ne_bytes());
        bytes
    }

    #[inline]
    fn of_bytes(bytes: &[u8; LATER_BYTES]) -> Later {
        let eight = |at: usize| i64::from_ne_bytes(*bytes[at..].first_chunk().expect("eight bytes"));
        let four = |at: usize| i32::from_ne_bytes(*bytes[at..].first_chunk().expect("four bytes"));
        Later { mzxid: Zxid(eight(0)), mtime: WallMs(eight(8)), version: four(16), aversion: four(20) }
    }
}

/// A handle on the payload: cheap to clone (one atomic increment), free to borrow.
#[derive(Clone)]
pub struct Znode(ThinArc<Header, u8>);

/// What the stored owner means (spec: disk formats 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZnodeKind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    /// Milliseconds.
    Ttl(i64),
}

/// How stored owners are read: two system properties of the server (parity ZN-13, ZN-15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerRules {
    /// `zookeeper.extendedTypesEnabled`: TTL nodes exist.
    pub extended_types: bool,
    /// `zookeeper.emulate353TTLNodes`: any negative owner but the container's is a TTL.
    pub emulate_353: bool,
}

/// The stored owner of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
const TTL_TAG: i64 = 0xff_0000;
const TTL_BITS: u32 = 40;
const LEGACY_TTL_MASK: i64 = 0x0fff_ffff_ffff_ffff;

/// The longest TTL, in milliseconds (parity ZN-48).
pub const TTL_MAX_MS: i64 = (1 << TTL_BITS) - 1;

/// The stored owner of a TTL node.
pub fn ttl_owner(ttl_ms: i64) -> i64 {
    TTL_TAG << TTL_BITS | (ttl_ms & TTL_MAX_MS)
}

/// Whether an owner is what [`ttl_owner`] makes, whatever the rules say of it.
pub fn looks_like_ttl(owner: i64) -> bool {
    (owner >> TTL_BITS) & 0xff_ffff == TTL_TAG
}

impl OwnerRules {
    /// What kind of znode has that stored owner. ZK: EphemeralType.get.
    pub fn kind(self, owner: i64) -> ZnodeKind {
        match owner {
            0 => ZnodeKind::Persistent,
            CONTAINER_OWNER => ZnodeKind::Container,
            _ if self.extended_types && looks_like_ttl(owner) => ZnodeKind::Ttl(owner & TTL_MAX_MS),
            _ if self.extended_types && self.emulate_353 && owner < 0 => ZnodeKind::Ttl(owner & LEGACY_TTL_MASK),
            _ => ZnodeKind::Ephemeral(SessionId(owner)),
        }
    }
}

impl Znode {
    /// A payload of its own. The root may be named "" or "/"; it is kept as "/".
    ///
    /// # Panics
    /// On a path of 512 MiB or more, which no frame can carry.
    pub fn new(meta: &Meta, path: &str, data: Option<&[u8]>) -> Znode {
        let path = if path.is_empty() { "/" } else { path };
        Znode::build(meta, path.len(), data.is_none(), [path.as_bytes(), data.unwrap_or_default()])
    }

    /// As [`Znode::new`] from path and data that lie one behind the other already; `no_data` makes the data null.
    ///
    /// # Panics
    /// If `content` does not start with `path`, or on a path of 512 MiB or more.
    pub fn of_content(meta: &Meta, path: &str, no_data: bool, content: &[u8]) -> Znode {
        assert!(content.starts_with(path.as_bytes()), "another path in front of the data");
        if path.is_empty() {
            return Znode::new(meta, path, (!no_data).then_some(content));
        }
        Znode::build(meta, path.len(), no_data, [content, &[]])
    }

    /// `content` is the path and the data, cut anywhere.
    fn build(meta: &Meta, path_bytes: usize, no_data: bool, content: [&[u8]; 2]) -> Znode {
        assert!(path_bytes <= PATH_BYTES as usize, "path of {path_bytes} bytes");
        let later = Later { mzxid: meta.mzxid, mtime: meta.mtime, version: meta.version, aversion: meta.aversion };
        let owned = meta.owner != 0;
        let changed = later != Later::of_a_creation(meta.czxid, meta.ctime);
        let flags = [(no_data, NO_DATA), (owned, OWNED), (changed, CHANGED)];
        let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag);
        let header =
            Header { czxid: meta.czxid, ctime: meta.ctime, acl: meta.acl, path_bytes: path_bytes as u32 | flags };
        if let ([whole, []], false, false) = (content, owned, changed) {
            return Znode(ThinArc::from_header_and_slice(header, whole));
        }
        let bytes = OWNER_BYTES + LATER_BYTES + content[0].len() + content[1].len();
        let mut joined: SmallVec<[u8; 1024]> = SmallVec::with_capacity(bytes);
        if owned {
            joined.extend_from_slice(&meta.owner.to_ne_bytes());
        }
        if changed {
            joined.extend_from_slice(&later.to_bytes());
        }
        content.iter().for_each(|part| joined.extend_from_slice(part));
        Znode(ThinArc::from_header_and_slice(header, &joined))
    }

    /// The same path and data under another `meta`.
    #[must_use]
    pub fn with_meta(&self, meta: &Meta) -> Znode {
        Znode::build(meta, self.path_len(), self.has_no_data(), [self.content(), &[]])
    }

    /// The same path with other data and `meta`.
    #[must_use]
    pub fn with_data(&self, meta: &Meta, data: Option<&[u8]>) -> Znode {
        Znode::build(meta, self.path_len(), data.is_none(), [self.path_bytes(), data.unwrap_or_default()])
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }

    fn has(&self, flag: u32) -> bool {
        self.header().path_bytes & flag != 0
    }

    fn path_len(&self) -> usize {
        (self.header().path_bytes & PATH_BYTES) as usize
    }

    fn has_no_data(&self) -> bool {
        self.has(NO_DATA)
    }

    /// Bytes in front of the path.
    fn extra_len(&self) -> usize {
        let owner = if self.has(OWNED) { OWNER_BYTES } else { 0 };
        owner + if self.has(CHANGED) { LATER_BYTES } else { 0 }
    }

    fn later(&self) -> Later {
        if !self.has(CHANGED) {
            return Later::of_a_creation(self.czxid(), self.ctime());
        }
        let start = if self.has(OWNED) { OWNER_BYTES } else { 0 };
        Later::of_bytes(self.0.slice[start..].first_chunk().expect("the flag says that it is there"))
    }

    pub fn path(&self) -> &str {
        text(self.path_bytes())
    }

    pub fn path_bytes(&self) -> &[u8] {
        &self.content()[..self.path_len()]
    }

    /// `None` is null data, which clients tell from empty (parity ZN-18).
    pub fn data(&self) -> Option<&[u8]> {
        if self.has_no_data() { None } else { Some(&self.content()[self.path_len()..]) }
    }

    /// Bytes of data; 0 for null.
    pub fn data_len(&self) -> usize {
        self.content().len() - self.path_len()
    }

    /// Path and data in one piece, as they lie in memory.
    pub(super) fn content(&self) -> &[u8] {
        &self.0.slice[self.extra_len()..]
    }

    pub fn meta(&self) -> Meta {
        let Header { czxid, ctime, acl, .. } = *self.header();
        let Later { mzxid, mtime, version, aversion } = self.later();
        Meta { czxid, mzxid, ctime, mtime, owner: self.owner(), version, aversion, acl }
    }

    pub fn czxid(&self) -> Zxid {
        self.header().czxid
    }

    pub fn mzxid(&self) -> Zxid {
        self.later().mzxid
    }

    pub fn ctime(&self) -> WallMs {
        self.header().ctime
    }

    pub fn mtime(&self) -> WallMs {
        self.later().mtime
    }

    /// As stored, not as reported.
    pub fn owner(&self) -> i64 {
        if !self.has(OWNED) {
            return 0;
        }
        i64::from_ne_bytes(*self.0.slice.first_chunk().expect("the flag says that it is there"))
    }

    pub fn version(&self) -> i32 {
        self.later().version
    }

    pub fn aversion(&self) -> i32 {
        self.later().aversion
    }

    pub fn acl_id(&self) -> AclId {
        self.header().acl
    }

    pub fn kind(&self, rules: OwnerRules) -> ZnodeKind {
        rules.kind(self.owner())
    }
}

/// Bytes of a path, cut at slashes only, as the text they were made from.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("paths are made from text")
}

impl std::fmt::Debug for Znode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Znode")
            .field("path", &self.path())
            .field("data_bytes", &self.data().map(<[u8]>::len))
            .field("meta", &self.meta())
            .finish()
    }
}

/// Two handles are equal when what they hold is.
impl PartialEq for Znode {
    fn eq(&self, other: &Znode) -> bool {
        self.meta() == other.meta() && self.path_bytes() == other.path_bytes() && self.data() == other.data()
    }
}

impl Eq for Znode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_data_stay_apart() {
        let meta = Meta { version: 3, acl: AclId(7), ..Meta::default() };
        let null = Znode::new(&meta, "/a", None);
        let empty = Znode::new(&meta, "/a", Some(b""));
        assert_eq!((null.data(), empty.data()), (None, Some(&b""[..])));
        assert_ne!(null, empty);
        let later = null.with_meta(&Meta { aversion: 1, ..meta });
        assert_eq!((later.data(), later.path(), later.aversion(), later.version()), (None, "/a", 1, 3));
        assert_eq!(later.with_data(&meta, Some(b"xy")).data(), Some(&b"xy"[..]));
        assert_eq!(Znode::new(&meta, "", None).path(), "/");
        assert_eq!(Znode::of_content(&meta, "/a", true, b"/a"), null);
        assert_eq!(Znode::of_content(&meta, "/a", false, b"/axy").data(), Some(&b"xy"[..]));
        assert_eq!(Znode::of_content(&meta, "", false, b"xy"), Znode::new(&meta, "/", Some(b"xy")));
    }

    #[test]
    fn what_a_znode_does_not_have_takes_no_room() {
        let meta = Meta { czxid: Zxid(7), mzxid: Zxid(7), ctime: WallMs(9), mtime: WallMs(9), ..Meta::default() };
        let owned = Meta { owner: -5, ..meta };
        let changed = Meta { mzxid: Zxid(8), mtime: WallMs(-1), version: 2, aversion: -3, ..meta };
        let both = Meta { owner: i64::MIN, acl: AclId(4), ..changed };
        for (meta, extra) in [(meta, 0), (owned, 8), (changed, 24), (both, 32), (Meta { mtime: WallMs(8), ..meta }, 24)]
        {
            for node in [Znode::new(&meta, "/a", Some(b"xyz")), Znode::of_content(&meta, "/a", false, b"/axyz")] {
                assert_eq!((node.meta(), node.path(), node.data()), (meta, "/a", Some(&b"xyz"[..])));
                assert_eq!((node.content(), node.0.slice.len()), (&b"/axyz"[..], 5 + extra));
            }
        }
    }

    #[test]
    fn a_handle_is_one_word() {
        assert_eq!(size_of::<Option<Znode>>(), 8);
    }

    #[test]
    fn owners_are_read_as_the_rules_say() {
        let off = OwnerRules::default();
        let on = OwnerRules { extended_types: true, emulate_353: false };
        let old = OwnerRules { extended_types: true, emulate_353: true };
        let ttl = ttl_owner(1000);
        assert_eq!(ttl as u64, 0xff00_0000_0000_03e8);
        assert_eq!(off.kind(0), ZnodeKind::Persistent);
        assert_eq!(off.kind(i64::MIN), ZnodeKind::Container);
        assert_eq!(off.kind(ttl), ZnodeKind::Ephemeral(SessionId(ttl)));
        assert_eq!(on.kind(ttl), ZnodeKind::Ttl(1000));
        assert_eq!(old.kind(ttl), ZnodeKind::Ttl(1000));
        let legacy = i64::MIN | 5000;
        assert_eq!(on.kind(legacy), ZnodeKind::Ephemeral(SessionId(legacy)));
        assert_eq!(old.kind(legacy), ZnodeKind::Ttl(5000));
        assert_eq!(old.kind(77), ZnodeKind::Ephemeral(SessionId(77)));
    }
}
