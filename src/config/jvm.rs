//! `-D` definitions where Apache's scripts look for them: JVMFLAGS and SERVER_JVMFLAGS, from the environment or from the
//! `java.env` that the scripts source from the configuration directory.
//!
//! ZK: zkEnv.sh, zkServer.sh. The command line becomes `$SERVER_JVMFLAGS $JVMFLAGS`, split at blanks without quoting, and of
//! two definitions of one name the JVM takes the last.

use std::collections::BTreeMap;

/// One `-Dname=value`, or another flag of the JVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    Definition {
        name: String,
        value: String,
    },
    /// Heap size, garbage collector and the like.
    Other(String),
}

/// Splits a flags variable as the scripts do.
pub fn flags(text: &str) -> Vec<Flag> {
    text.split_ascii_whitespace()
        .map(|word| match word.strip_prefix("-D") {
            Some(definition) => {
                let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
                Flag::Definition { name: name.to_owned(), value: value.to_owned() }
            }
            None => Flag::Other(word.to_owned()),
        })
        .collect()
}

/// What a sourced `java.env` left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sourced {
    /// Variables after the file, those before included.
    pub variables: BTreeMap<String, String>,
    /// For each variable the file assigned, the line of the last assignment.
    pub assigned_on: BTreeMap<String, usize>,
    /// Lines that speak of JVM flags in shell we do not execute (conditions, command substitution, functions).
    pub not_understood: Vec<usize>,
}

/// Reads the assignments of a shell file: `NAME=word` and `export NAME=word` with quotes, escapes, `$NAME`, `${NAME}` and
/// `${NAME:-default}`. Nothing is executed.
pub fn source(text: &str, before: BTreeMap<String, String>) -> Sourced {
    let mut sourced = Sourced { variables: before, ..Sourced::default() };
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let statement = statement(rest);
        let trimmed = statement.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            take_statement(trimmed, line, &mut sourced);
        }
        line += statement.matches('\n').count() + 1;
        rest = rest.get(statement.len() + 1..).unwrap_or("");
    }
    sourced
}

fn take_statement(statement: &str, line: usize, sourced: &mut Sourced) {
    match assignment(statement, &sourced.variables) {
        Some((name, value)) => {
            sourced.assigned_on.insert(name.clone(), line);
            sourced.variables.insert(name, value);
        }
        None if statement.contains("JVMFLAGS") && statement.contains('=') => sourced.not_understood.push(line),
        None => {}
    }
}

/// The text up to the newline that ends it: one outside quotes that no backslash hides.
fn statement(text: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    let comment = text.trim_start_matches([' ', '\t']).starts_with('#');
    for (index, c) in text.char_indices() {
        match c {
            '\n' if comment || (quote.is_none() && !escaped) => return &text[..index],
            _ if escaped => escaped = false,
            '\\' if quote != Some('\'') => escaped = true,
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            _ => {}
        }
    }
    text
}

fn assignment(statement: &str, variables: &BTreeMap<String, String>) -> Option<(String, String)> {
    let statement = statement.strip_prefix("export ").unwrap_or(statement).trim_start();
    let (name, word) = statement.split_once('=')?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((name.to_owned(), word_value(word, variables)?))
}

/// Undoes quotes and fills in variables; `None` for shell beyond that.
fn word_value(word: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let mut value = String::new();
    let mut quote = None;
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            ('\'' | '"', Some(open)) if open == c => quote = None,
            ('\\', None | Some('"')) => match rest.next()? {
                '\n' => {}
                other if quote.is_none() || "\\\"$`".contains(other) => value.push(other),
                other => value.extend(['\\', other]),
            },
            ('`', None | Some('"')) => return None,
            ('$', None | Some('"')) => value.push_str(&variable(&mut rest, variables)?),
            (' ' | '\t' | ';', None) => {
                let tail: String = rest.collect();
                let tail = tail.trim_start_matches([' ', '\t', ';']);
                // `A=1 command` gives A to that command alone, `A=1; B=2` hides a second statement: neither is ours.
                return (tail.is_empty() || tail.starts_with('#')).then_some(value);
            }
            ('&' | '|' | '<' | '>' | '(' | ')', None) => return None,
            _ => value.push(c),
        }
    }
    quote.is_none().then_some(value)
}

fn variable(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    variables: &BTreeMap<String, String>,
) -> Option<String> {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if rest.next_if_eq(&'{').is_some() {
        let inside: String = rest.by_ref().take_while(|c| *c != '}').collect();
        let (name, default) = inside.split_once(":-").unwrap_or((&inside, ""));
        if name.is_empty() || !name.chars().all(|c| is_name(&c)) || default.contains(['$', '`', '"', '\'']) {
            return None;
        }
        let set = variables.get(name).filter(|value| !value.is_empty());
        return Some(set.cloned().unwrap_or_else(|| default.to_owned()));
    }
    let mut name = String::new();
    while let Some(c) = rest.next_if(is_name) {
        name.push(c);
    }
    // `$(command)`, `$1`, `$?`: not a plain variable.
    (!name.is_empty()).then(|| variables.get(&name).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Sourced {
        source(text, BTreeMap::from([("JVMFLAGS".to_owned(), "-Dold=1".to_owned())]))
    }

    #[test]
    fn definitions_are_cut_out_of_the_flags() {
        assert_eq!(
            flags(" -Dzookeeper.maxCnxns=7  -Xmx1g -Dx"),
            vec![
                Flag::Definition { name: "zookeeper.maxCnxns".into(), value: "7".into() },
                Flag::Other("-Xmx1g".into()),
                Flag::Definition { name: "x".into(), value: "".into() },
            ]
        );
    }

    #[test]
    fn assignments_of_java_env_are_followed() {
        for (text, value) in [
            ("JVMFLAGS=-Da=1", "-Da=1"),
            ("export JVMFLAGS=\"-Da=1 $JVMFLAGS\"", "-Da=1 -Dold=1"),
            ("# x\n\nJVMFLAGS='-Da=$b'  # why\n", "-Da=$b"),
            ("export JVMFLAGS=\"-Da=1 \\\n -Db=2\"", "-Da=1  -Db=2"),
            ("H=1g\nJVMFLAGS=\"-Xmx${H} ${JVMFLAGS} ${NONE:-x}\"", "-Xmx1g -Dold=1 x"),
            ("JVMFLAGS=\"-Da=1\n-Db=2\"", "-Da=1\n-Db=2"),
            ("# it's a comment\nJVMFLAGS=a", "a"),
        ] {
            let sourced = after(text);
            assert_eq!(sourced.variables["JVMFLAGS"], value, "{text}");
            assert!(sourced.not_understood.is_empty(), "{text}");
        }
        assert_eq!(after("\nA=1\nJVMFLAGS=x").assigned_on["JVMFLAGS"], 3);
    }

    #[test]
    fn shell_beyond_assignments_is_reported_where_it_matters() {
        for (text, line) in [
            ("JVMFLAGS=$(cat flags)", 1),
            ("\nif x; then JVMFLAGS=1; fi", 2),
            ("JVMFLAGS=`id`", 1),
            ("a\nJVMFLAGS=x cmd", 2),
        ] {
            let sourced = after(text);
            assert_eq!(sourced.not_understood, vec![line], "{text}");
            assert_eq!(sourced.variables["JVMFLAGS"], "-Dold=1", "{text}");
        }
        assert!(after("if [ -x /bin/java ]; then echo; fi\n. other").not_understood.is_empty());
    }

    #[test]
    fn random_text_never_panics() {
        let alphabet: Vec<char> = "AJ=\"'\\$`{}:-# \n(é".chars().collect();
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let text: String = (0..30)
                .map(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    alphabet[(seed >> 33) as usize % alphabet.len()]
                })
                .collect();
            source(&text, BTreeMap::new());
            flags(&text);
        }
    }
}
