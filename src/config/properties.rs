//! The syntax of a Java properties file, read so that every entry still knows its line.
//!
//! Source: java.util.Properties.load. Bytes are ISO-8859-1; `#` and `!` open a comment; `=`, `:` or blanks separate key and
//! value; a backslash escapes, or at the end of a line continues it. Keys and values are trimmed afterwards, as ZooKeeper
//! does (CF-01). Duplicates are all returned; the caller lets the last one win and says so.

/// One `key=value` and the line its key begins on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub line: usize,
}

/// A `\u` escape without four hexadecimal digits: the only thing this syntax can refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEscape {
    pub line: usize,
    /// What stood there.
    pub text: String,
}

/// Reads a whole file.
///
/// Errors: [`BadEscape`]; every other sequence of bytes means something.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, BadEscape> {
    logical_lines(bytes).into_iter().map(|(line, text)| entry(&text, line)).collect()
}

/// Joins continued lines and drops comments and empty ones. A comment is never continued; a continued line may not be one.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<char>)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, Vec<char>)> = None;
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        let text = &natural[natural.iter().take_while(|c| is_blank(**c)).count()..];
        if pending.is_none() && matches!(text.first(), None | Some('#' | '!')) {
            continue;
        }
        let (_, joined) = pending.get_or_insert((index + 1, Vec::new()));
        joined.extend(text);
        if text.iter().rev().take_while(|c| **c == '\\').count() % 2 == 1 {
            joined.pop();
        } else {
            lines.extend(pending.take());
        }
        // Java (since 9) looks at what has been gathered: after a lone backslash the next line begins afresh.
        pending = pending.filter(|(_, joined)| !joined.is_empty());
    }
    lines.extend(pending);
    lines
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(bytes: &[u8]) -> Vec<Vec<char>> {
    let mut lines = vec![Vec::new()];
    let mut previous = 0;
    for &byte in bytes {
        match byte {
            b'\n' if previous == b'\r' => {}
            b'\n' | b'\r' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("starts with one line").push(char::from(byte)),
        }
        previous = byte;
    }
    lines
}

fn entry(text: &[char], line: usize) -> Result<Entry, BadEscape> {
    let key_end = key_end(text);
    let mut rest = &text[key_end..];
    rest = skip_blanks(rest);
    if let Some('=' | ':') = rest.first() {
        rest = skip_blanks(&rest[1..]);
    }
    Ok(Entry { key: unescape(&text[..key_end], line)?, value: unescape(rest, line)?, line })
}

fn key_end(text: &[char]) -> usize {
    let mut escaped = false;
    for (index, &c) in text.iter().enumerate() {
        if !escaped && (c == '=' || c == ':' || is_blank(c)) {
            return index;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

fn unescape(text: &[char], line: usize) -> Result<String, BadEscape> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(c) = rest.next() {
        if c != '\\' {
            units.push(c as u16);
            continue;
        }
        match rest.next() {
            Some('t') => units.push(9),
            Some('n') => units.push(10),
            Some('f') => units.push(12),
            Some('r') => units.push(13),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let plain = digits.len() == 4 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
                let unit = plain.then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                units.push(unit.ok_or_else(|| BadEscape { line, text: format!("\\u{digits}") })?);
            }
            Some(other) => units.push(other as u16),
            None => {}
        }
    }
    let decoded = String::from_utf16_lossy(&units);
    Ok(decoded.trim_matches(|c: char| c <= ' ').to_owned())
}

fn skip_blanks(text: &[char]) -> &[char] {
    &text[text.iter().take_while(|c| is_blank(**c)).count()..]
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let entries = read(text);
        assert_eq!(entries.len(), 1, "{text:?} -> {entries:?}");
        (entries[0].0.clone(), entries[0].1.clone())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn all_separators_mean_the_same() {
        for text in ["a=b", "a:b", "a b", "a\tb", " a = b ", "a : b", "a\u{c}b", "a=b\r\n", "\n\na=b\r"] {
            assert_eq!(one(text), pair("a", "b"), "{text:?}");
        }
        assert_eq!(one("a==b"), pair("a", "=b"));
        assert_eq!(one("a := b"), pair("a", "= b"));
        assert_eq!(one("alone"), pair("alone", ""));
        assert_eq!(one("=value"), pair("", "value"));
        assert_eq!(one("server.1=h:2888:3888"), pair("server.1", "h:2888:3888"));
    }

    #[test]
    fn comments_are_whole_lines_only_and_never_continue() {
        assert_eq!(read("# x=1\\\n! y=2\na=1 # kept\n"), vec![("a".into(), "1 # kept".into(), 3)]);
        assert_eq!(one("a=1\\\n#2"), pair("a", "1#2"));
    }

    #[test]
    fn continuations_join_and_keep_the_first_line_number() {
        assert_eq!(
            read("a=1,\\\n   2,\\\r\n\t3\nb=4\n"),
            vec![("a".into(), "1,2,3".into(), 1), ("b".into(), "4".into(), 4)]
        );
        assert_eq!(read("a=1\\\n\nb=2"), vec![("a".into(), "1".into(), 1), ("b".into(), "2".into(), 3)]);
        assert_eq!(one("a=1\\\\"), pair("a", "1\\"));
        assert_eq!(one("a=1\\"), pair("a", "1"));
        assert!(read("\\\n\n").is_empty());
    }

    #[test]
    fn escapes_are_undone_and_bytes_are_latin_1() {
        assert_eq!(one(r"a\=b\ c=d\:e"), pair("a=b c", "d:e"));
        assert_eq!(one(r"a=\u0041\t\u00e9x"), pair("a", "A\t\u{e9}x"));
        assert_eq!(one(r"a=C:\\data\q"), pair("a", r"C:\dataq"));
        assert_eq!(one(r"a=\ud83d\ude00"), pair("a", "\u{1f600}"));
        assert_eq!(parse(b"a=\xe9").unwrap()[0].value, "\u{e9}");
    }

    #[test]
    fn a_broken_unicode_escape_names_its_line() {
        for text in [r"a=\u12", r"a=\u12x4", r"a=\u+123", r"a=\u"] {
            assert_eq!(parse(format!("b=1\n{text}").as_bytes()).unwrap_err().line, 2, "{text}");
        }
    }

    #[test]
    fn later_duplicates_come_later() {
        assert_eq!(read("a=1\na=2"), vec![("a".into(), "1".into(), 1), ("a".into(), "2".into(), 2)]);
    }

    #[test]
    fn random_bytes_never_panic_and_agree_with_another_reader() {
        let alphabet = b"ab=: \t\\\n\r#!u04\x0c\xe9";
        let mut seed = 0x5eed_u64;
        let mut compared = 0;
        for _ in 0..20_000 {
            let mut text: Vec<u8> = (0..next(&mut seed) % 40)
                .map(|_| alphabet[(next(&mut seed) % alphabet.len() as u64) as usize])
                .collect();
            assert!(parse(&text).is_ok_and(|entries| entries.len() <= text.len()) || text.contains(&b'u'));
            // The other reader forgets a last line that ends in a backslash.
            text.extend(b"\nz=1");
            let Ok(ours) = parse(&text) else { continue };
            // Nor does it begin afresh after a line that is nothing but a backslash.
            if natural_lines(&text).iter().any(|line| skip_blanks(line) == ['\\']) {
                continue;
            }
            let mut theirs = Vec::new();
            let read =
                java_properties::PropertiesIter::new(text.as_slice()).read_into(|key, value| theirs.push((key, value)));
            if read.is_err() {
                continue;
            }
            let trim = |text: &str| text.trim_matches(|c: char| c <= ' ').to_owned();
            let theirs: Vec<_> = theirs.iter().map(|(key, value)| (trim(key), trim(value))).collect();
            let ours: Vec<_> = ours.into_iter().map(|entry| (entry.key, entry.value)).collect();
            assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(&text));
            compared += 1;
        }
        assert!(compared > 10_000, "only {compared} texts were compared");
    }

    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed >> 8
    }
}
