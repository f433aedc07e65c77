//! The znodes a mix starts from, all below the root of the run.
//!
//! A file's paths are taken below that root, so that a run can remove what it made without touching anything
//! else. Since nothing was there before, all that a request can find is known without asking the server.

use std::collections::HashMap;

use super::spec::{SetupNode, Size, Source, Text};
use crate::bench::plan::{self, Rng};

/// What a name or a random value of keeper-bench is made of.
pub const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A znode to be created.
pub struct Znode {
    pub path: String,
    pub data: Vec<u8>,
}

/// The znodes, parents first, and what requests may call them.
pub struct Setup {
    root: String,
    rng: Rng,
    pub znodes: Vec<Znode>,
    number_of: HashMap<String, u32>,
    members: HashMap<Source, Vec<u32>>,
}

impl Setup {
    pub fn new(root: &str, nodes: &[SetupNode], seed: u64) -> Setup {
        let (znodes, number_of, members) = Default::default();
        let mut setup = Setup { root: root.into(), rng: Rng::new(seed), znodes, number_of, members };
        for node in nodes {
            setup.add(node, "");
        }
        setup
    }

    fn add(&mut self, node: &SetupNode, parent: &str) {
        for _ in 0..node.repeat {
            let name = match &node.name {
                Text::Fixed(name) => name.clone(),
                Text::Random(length) => self.word(*length),
            };
            let path = format!("{parent}/{name}");
            let number = self.place(&path);
            self.znodes[number as usize].data = match &node.data {
                Text::Fixed(text) => text.clone().into_bytes(),
                Text::Random(size) => plan::value(self.rng.within(size.min, size.max) as usize),
            };
            if let Some(tag) = &node.tag {
                self.members.entry(Source::Tagged(tag.clone())).or_default().push(number);
            }
            for child in &node.children {
                self.add(child, &path);
            }
        }
    }

    fn word(&mut self, length: Size) -> String {
        let length = self.rng.within(length.min.max(1), length.max.max(1));
        (0..length).map(|_| char::from(LETTERS[self.rng.below(62) as usize])).collect()
    }

    /// The number of a path, which is created, with its parents, if the setup did not name it.
    pub fn place(&mut self, path: &str) -> u32 {
        if let Some(number) = self.number_of.get(path) {
            return *number;
        }
        let (parent, _) = path.rsplit_once('/').expect("an absolute path");
        if !parent.is_empty() {
            self.place(parent);
        }
        let number = self.znodes.len() as u32;
        self.znodes.push(Znode { path: format!("{}{path}", self.root), data: Vec::new() });
        self.number_of.insert(path.into(), number);
        self.members.entry(Source::ChildrenOf(parent.into())).or_default().push(number);
        number
    }

    /// The znodes a source stands for before the run.
    pub fn members(&mut self, source: &Source) -> Vec<u32> {
        match source {
            Source::Path(path) => vec![self.place(path)],
            Source::ChildrenOf(_) | Source::Tagged(_) => self.members.get(source).cloned().unwrap_or_default(),
        }
    }
}
