//! YAML as a tree, with the line of everything in it.
//!
//! keeper-bench repeats keys on purpose (two `get` in one mapping are two kinds of request), which a reader into
//! typed structures takes for a mistake. So the file becomes a tree whose mappings keep every pair, in order.

use saphyr_parser::{Event, Parser};

/// A node of the tree.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Node, String> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| format!("no YAML: {e}"))?;
        let line = span.start.line();
        match event {
            Event::Alias(_) => return Err(format!("line {line}: aliases are not understood; write the value out")),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => events.push((line, event)),
            Event::SequenceEnd | Event::MappingEnd => events.push((line, event)),
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    let mut events = events.into_iter();
    let first = events.next().ok_or("the file is empty")?;
    node(first, &mut events)
}

type Events<'a> = std::vec::IntoIter<(usize, Event<'a>)>;

fn node<'a>((line, event): (usize, Event<'a>), rest: &mut Events<'a>) -> Result<Node, String> {
    let value = match event {
        Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some(item) = rest.next().filter(|(_, event)| !matches!(event, Event::SequenceEnd)) {
                items.push(node(item, rest)?);
            }
            Value::List(items)
        }
        _ => {
            let mut pairs = Vec::new();
            while let Some((line, key)) = rest.next().filter(|(_, event)| !matches!(event, Event::MappingEnd)) {
                let Event::Scalar(key, ..) = key else {
                    return Err(format!("line {line}: a key must be a word"));
                };
                let value = rest.next().ok_or(format!("line {line}: `{key}` has no value"))?;
                pairs.push((key.into_owned(), node(value, rest)?));
            }
            Value::Map(pairs)
        }
    };
    Ok(Node { line, value })
}

impl Node {
    pub fn error(&self, what: &str) -> String {
        format!("line {}: {what}", self.line)
    }

    pub fn pairs(&self, what: &str) -> Result<&[(String, Node)], String> {
        match &self.value {
            Value::Map(pairs) => Ok(pairs),
            // A key with nothing behind it is an empty mapping.
            Value::Scalar(text) if text.is_empty() || text == "~" => Ok(&[]),
            _ => Err(self.error(&format!("`{what}` must be a mapping"))),
        }
    }

    /// What one key stands for: the items of a list, or else the node alone.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn text(&self, what: &str) -> Result<&str, String> {
        match &self.value {
            Value::Scalar(text) => Ok(text),
            _ => Err(self.error(&format!("`{what}` must be a single value"))),
        }
    }

    pub fn parse<T: std::str::FromStr>(&self, what: &str, kind: &str) -> Result<T, String> {
        let text = self.text(what)?;
        text.parse().map_err(|_| self.error(&format!("`{what}: {text}` is no {kind}")))
    }

    pub fn number(&self, what: &str) -> Result<u64, String> {
        self.parse(what, "whole number")
    }

    /// A probability.
    pub fn share(&self, what: &str) -> Result<f64, String> {
        let share: f64 = self.parse(what, "number")?;
        if (0.0..=1.0).contains(&share) {
            Ok(share)
        } else {
            Err(self.error(&format!("`{what}: {share}` must be between 0 and 1")))
        }
    }
}
