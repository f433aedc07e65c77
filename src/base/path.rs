//! Znode paths: what is a legal one, and how to take one apart.

/// The system subtree, and the nodes in it that can never be deleted.
pub const ZOOKEEPER: &str = "/zookeeper";
pub const QUOTA: &str = "/zookeeper/quota";
pub const CONFIG: &str = "/zookeeper/config";

/// Whether `path` may name a znode in a write (parity ZN-20..22).
///
/// The forbidden characters are judged per UTF-16 unit as the reference does, so every supplementary-plane
/// character is refused: its surrogates lie in U+D800..U+F8FF. ZK: PathUtils.validatePath.
pub fn is_valid(path: &str) -> bool {
    let bytes = path.as_bytes();
    match bytes {
        [] => return false,
        [b'/'] => return true,
        [b'/', .., b'/'] => return false,
        [b'/', ..] => {}
        _ => return false,
    }
    // Both without an early end, so that many bytes are looked at in one instruction.
    let is_plain = bytes.iter().fold(true, |plain, b| plain & (0x20..0x7f).contains(b));
    let starts_name = |(slash, first): (&u8, &u8)| (*slash == b'/') & ((*first == b'/') | (*first == b'.'));
    let may_be_relative = bytes.iter().zip(&bytes[1..]).fold(false, |may, pair| may | starts_name(pair));
    (!may_be_relative || bytes[1..].split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b"..")))
        && (is_plain || path.chars().all(is_legal_char))
}

fn is_legal_char(c: char) -> bool {
    !matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// The parent's path; `None` for "/" and for a string without a slash.
pub fn parent(path: &str) -> Option<&str> {
    if path == "/" {
        return None;
    }
    match last_slash(path)? {
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// The last component; empty for "/".
pub fn name(path: &str) -> &str {
    last_slash(path).map_or(path, |at| &path[at + 1..])
}

/// Byte by byte, which for a name of ordinary length is quicker than the standard library's search.
fn last_slash(path: &str) -> Option<usize> {
    path.bytes().rposition(|byte| byte == b'/')
}

/// The first component without its slash, which per-namespace metrics are keyed by (parity Q-14).
pub fn namespace(path: &str) -> &str {
    let name = path.strip_prefix('/').unwrap_or(path);
    let end = name.bytes().position(|byte| byte == b'/').unwrap_or(name.len());
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_and_illegal_paths_are_told_apart() {
        for good in ["/", "/a", "/a/b", "/ ", "/...", "/a..b", "/é", "/\u{fdf0}", "/a/.b"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/..",
            "/\0",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{fff0}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_path_comes_apart_at_its_last_slash() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
        assert_eq!(parent("a"), None);
        assert_eq!(name("/a/b"), "b");
        assert_eq!(name("/"), "");
        assert_eq!(namespace("/a/b"), "a");
    }
}
