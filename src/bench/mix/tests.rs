//! Mixes: the shares they promise, what the server's own codec reads in them, and files good and bad.

use std::collections::{BTreeMap, HashSet};

use super::draw::spell_name;
use super::spec::{Size, Source, Spec, Text, Weighted};
use super::*;
use crate::bench::Workload;
use crate::bench::plan::Rng;
use crate::codec::Reader;
use crate::codec::opcode::OpCode;
use crate::codec::request::{CreateRequest, MultiOp, ReadOp, Request, RequestHeader};

const ROOT: &str = "/bench-test";
const CONNECTIONS: usize = 4;

/// A tree of paths that takes requests as a server would, and insists that they find what they need.
struct Tree {
    paths: HashSet<String>,
    /// How often each operation came, multis as one and also by their parts.
    counts: BTreeMap<&'static str, u64>,
    value_bytes: (usize, usize),
    parts: (usize, usize),
    watches: u64,
}

impl Tree {
    fn of(mix: &Mix) -> Tree {
        let mut tree = Tree {
            paths: HashSet::from([ROOT.to_string()]),
            counts: BTreeMap::new(),
            value_bytes: (usize::MAX, 0),
            parts: (usize::MAX, 0),
            watches: 0,
        };
        for znode in &mix.znodes {
            tree.create(&znode.path);
        }
        tree
    }

    fn create(&mut self, path: &str) {
        let (parent, _) = path.rsplit_once('/').unwrap();
        assert!(self.paths.contains(parent), "{path} has a parent");
        assert!(self.paths.insert(path.into()), "{path} is new");
    }

    fn value(&mut self, data: Option<&[u8]>) {
        let bytes = data.unwrap_or_default().len();
        self.value_bytes = (self.value_bytes.0.min(bytes), self.value_bytes.1.max(bytes));
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn find(&mut self, what: &'static str, path: &str) {
        self.count(what);
        assert!(self.paths.contains(path), "{what} of {path}");
    }

    fn change(&mut self, prefix: usize, op: &MultiOp<'_>) {
        match op {
            MultiOp::Create(CreateRequest { path, data, .. }) => {
                self.count(["create", "multi create"][prefix]);
                self.value(*data);
                self.create(path);
            }
            MultiOp::Delete { path, .. } => {
                self.count(["delete", "multi delete"][prefix]);
                assert!(self.paths.remove(&**path), "delete of {path}");
            }
            MultiOp::SetData { path, data, .. } => {
                self.value(*data);
                self.find(["set", "multi set"][prefix], path);
            }
            MultiOp::Check { .. } => panic!("no mix has a check in it"),
        }
    }

    /// Decodes with the server's own codec, which shares nothing with the generator's.
    fn take(&mut self, frame: &[u8]) {
        let length = i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
        assert_eq!(length, frame.len() - 4, "one frame");
        let mut reader = Reader::new(&frame[4..]);
        let header = RequestHeader::decode(&mut reader).unwrap();
        match Request::decode(OpCode::from_i32(header.op).unwrap(), reader).unwrap() {
            Request::Create(create) => self.change(0, &MultiOp::Create(create)),
            Request::Delete { path, version } => self.change(0, &MultiOp::Delete { path, version }),
            Request::SetData { path, data, version } => self.change(0, &MultiOp::SetData { path, data, version }),
            Request::GetData { path, watch } => {
                self.watches += u64::from(watch);
                self.find("get", &path);
            }
            Request::GetChildren { path, watch, with_stat: true } => {
                self.watches += u64::from(watch);
                self.find("list", &path);
            }
            Request::Multi(ops) => {
                self.count("multi");
                self.parts = (self.parts.0.min(ops.len()), self.parts.1.max(ops.len()));
                ops.iter().for_each(|op| self.change(1, op));
            }
            Request::MultiRead(ops) => {
                self.count("multi read");
                for op in ops {
                    match op {
                        ReadOp::GetData { path } => self.find("multi get", &path),
                        ReadOp::GetChildren { path } => self.find("multi list", &path),
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn share(&self, what: &[&str], draws: u64) -> f64 {
        let count: u64 = what.iter().filter_map(|what| self.counts.get(what)).sum();
        count as f64 / draws as f64
    }
}

/// Lets four connections take turns.
fn draw(spec: &Spec, draws: u64) -> Tree {
    let mix = Mix::new(spec, ROOT, CONNECTIONS).unwrap();
    let mut tree = Tree::of(&mix);
    let mut owns: Vec<Own> = (0..CONNECTIONS as u32).map(|conn| mix.own(conn)).collect();
    let (mut rng, mut out) = (Rng::new(7), Vec::new());
    for turn in 0..draws {
        out.clear();
        mix.next(&mut rng, &mut owns[turn as usize % CONNECTIONS], 1, &mut out);
        assert!(out.len() <= mix.request_bytes_max());
        tree.take(&out);
    }
    tree
}

fn published(workload: Workload) -> Tree {
    draw(&clickhouse::spec(workload).unwrap(), 100_000)
}

fn assert_shares(tree: &Tree, shares: &[(&[&str], f64)]) {
    for (what, expected) in shares {
        let share = tree.share(what, 100_000);
        assert!((share - expected).abs() < 0.01, "{what:?}: {share} instead of {expected}");
    }
}

#[test]
fn the_published_mixes_have_their_shares() {
    let tree = published(Workload::ClickhouseRead);
    assert_shares(&tree, &[(&["get"], 0.9), (&["list"], 0.1)]);
    let tree = published(Workload::ClickhouseReadList);
    assert_shares(&tree, &[(&["get"], 0.25), (&["list"], 0.75)]);
    let tree = published(Workload::ClickhouseHotGet);
    assert_shares(&tree, &[(&["get"], 1.0)]);
    let tree = published(Workload::ClickhouseWrite);
    assert_shares(&tree, &[(&["create", "delete"], 0.6), (&["delete"], 0.6 * 0.49), (&["set"], 0.4)]);
    assert_eq!(tree.value_bytes, (0, 162));
    // More removes are wanted than there are znodes to remove: half of what is left.
    let tree = published(Workload::ClickhouseChurn);
    assert_shares(&tree, &[(&["create"], 0.4), (&["delete"], 0.4), (&["set"], 0.2)]);
    let tree = published(Workload::ClickhouseProdMix);
    let parts = |share: f64| share / 96.0;
    assert_shares(&tree, &[(&["get"], parts(38.0)), (&["create", "delete"], parts(34.0)), (&["set"], parts(9.0))]);
    assert_shares(&tree, &[(&["multi"], parts(11.0)), (&["list"], parts(4.0))]);
    assert_eq!(tree.parts, (3, 7));
    let tree = published(Workload::ClickhouseWriteMulti);
    assert_shares(&tree, &[(&["create", "delete"], 0.25), (&["set"], 0.25), (&["multi"], 0.5)]);
    assert_eq!(tree.parts, (5, 15));
}

#[test]
fn large_values_and_large_multis_are_large() {
    let tree = published(Workload::ClickhouseLargeValues);
    assert_eq!(tree.value_bytes, (1024, 4096));
    let spec = clickhouse::spec(Workload::ClickhouseLargeMulti).unwrap();
    let tree = draw(&spec, 5_000);
    assert_eq!(tree.parts, (10, 30));
    let (made, gone) = (tree.counts["multi create"] as f64, tree.counts["multi delete"] as f64);
    assert!((gone / (made + gone) - 0.3).abs() < 0.02, "{gone} of {made}");
}

#[test]
fn names_of_every_length_differ_until_they_run_out() {
    for (length, count) in [(1, 62), (2, 62 * 62), (8, 100_000), (16, 100_000)] {
        let mut names = HashSet::new();
        for number in 0..count {
            let mut name = Vec::new();
            spell_name(number, length, &mut name);
            assert_eq!(name.len(), usize::from(length));
            assert!(names.insert(name), "number {number} of length {length}");
        }
    }
}

/// Everything that a file may say, much of it twice.
const FILE: &str = r#"
name: everything
concurrency: 20
pipeline_depth: 2
iterations: 10000
timelimit: 2.5
warmup_seconds: 1
report_delay: 4
continue_on_error: true
connections:
  session_timeout_ms: 9000
  operation_timeout_ms: 3000
  host: "one:2181"
  connection:
    host: "two:2181"
    secure: false
    sessions: 7
setup:
  node:
    name: "plain"
  node:
    - name: "home"
      data: "somedata"
      node:
        repeat: 12
        tag: "rooms"
        name: { random_string: { size: 9 } }
        data:
          random_string:
            size: { min_value: 3, max_value: 5 }
      node:
        name: "cellar"
generator:
  seed: 5
  requests:
    get:
      path:
        - "/plain"
        - "/elsewhere/never/named"
      path:
        children_of: "/home"
      watch_probability: 0.5
    get:
      weight: 3
      path: { tagged: "made" }
    create:
      path: { tagged: "rooms" }
      tag: "made"
      name_length: { min_value: 4, max_value: 6 }
      remove_factor: 0.5
    set:
      path: { tagged: "rooms" }
    set:
      path: { children_of: "/yard" }
      data: "x"
    multi:
      weight: 2
      size: 20
      create:
        path: "/yard"
      create:
        path: "/home"
        remove_factor: 0.8
      set:
        weight: 2
        path: "/plain"
      set:
        path: { children_of: "/home" }
    multi:
      get: { path: "/home" }
      list: { path: "/home" }
    list:
      path: "/home"
"#;

#[test]
fn a_file_is_understood_whole() {
    let spec = keeper_bench::parse(FILE).unwrap();
    assert_eq!(spec.seed, 5);
    assert_eq!(spec.terms.servers.as_deref(), Some("one:2181,two:2181"));
    assert_eq!((spec.terms.connections, spec.terms.outstanding), (Some(8), Some(5)), "40 requests over 8 sessions");
    assert_eq!((spec.terms.duration_s, spec.terms.warmup_s), (Some(2.5), Some(1.0)));
    assert_eq!(spec.terms.session_timeout_ms, Some(9000));
    assert_eq!(spec.terms.notes.len(), 1, "iterations");
    let names: Vec<&Text> = spec.setup.iter().map(|node| &node.name).collect();
    assert_eq!(names, [&Text::Fixed("plain".into()), &Text::Fixed("home".into())]);
    let rooms = &spec.setup[1].children[0];
    assert_eq!((rooms.repeat, rooms.tag.as_deref()), (12, Some("rooms")));
    assert_eq!(rooms.data, Text::Random(Size { min: 3, max: 5 }));
    let weights: Vec<u64> = spec.requests.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [1, 3, 1, 1, 1, 2, 1, 1]);
    let first = Weighted {
        weight: 1,
        request: spec::Request::Get {
            at: vec![
                Source::Path("/plain".into()),
                Source::Path("/elsewhere/never/named".into()),
                Source::ChildrenOf("/home".into()),
            ],
            watch: 0.5,
        },
    };
    assert_eq!(spec.requests[0], first);
}

#[test]
fn a_mix_of_a_file_finds_what_it_has_made() {
    let tree = draw(&keeper_bench::parse(FILE).unwrap(), 50_000);
    for what in ["get", "create", "delete", "set", "list", "multi", "multi read"] {
        assert!(tree.counts[what] > 1_000, "{what}: {:?}", tree.counts);
    }
    assert_eq!(tree.counts["multi get"], tree.counts["multi list"], "one of each where no size is given");
    assert!(tree.watches > 1_000);
    assert!(tree.counts["multi delete"] > 1_000);
}

#[test]
fn a_file_without_sessions_gets_a_connection_for_each_of_its_threads() {
    let text = "concurrency: 640\ngenerator:\n  requests:\n    get:\n      path: /a\n";
    let terms = keeper_bench::parse(text).unwrap().terms;
    assert_eq!((terms.connections, terms.outstanding, terms.servers), (Some(640), Some(1), None));
}

/// A file with `requests` in it, tried as far as a run would.
fn refusal(top: &str, requests: &str) -> String {
    let text = format!("{top}\ngenerator:\n  requests:\n{requests}");
    keeper_bench::parse(&text).and_then(|spec| Mix::new(&spec, ROOT, 1)).err().expect("a refusal")
}

#[test]
fn a_file_that_cannot_be_run_says_why() {
    let get = "    get:\n      path: /a\n";
    for (top, requests, expected) in [
        ("concurency: 3", get, "line 1: unknown key `concurency` in `the file`"),
        ("", "    get:\n      paht: /a\n", "line 5: unknown key `paht` in `get`"),
        ("", "    remove:\n      path: /a\n", "unknown key `remove` in `requests`"),
        ("", "    get:\n      data: x\n      path: /a\n", "unknown key `data` in `get`"),
        ("connections:\n  hots: a:1", get, "unknown key `hots` in `connections`"),
        ("connections:\n  secure: true", get, "`secure: true` is not spoken"),
        ("concurrency: many", get, "`concurrency: many` is no whole number"),
        ("setup:\n  node:\n    name: a\n    repeat: 2", get, "`repeat` needs a random `name`"),
        ("setup:\n  node:\n    data: a", get, "a `node` without a `name`"),
        ("", "    get: {}\n", "`get` has no `path`"),
        ("", "    get:\n      path: a\n", "does not begin with /"),
        ("", "    get:\n      path: { children_of: /a }\n", "the setup makes no children there"),
        ("", "    get:\n      path: { tagged: a }\n", "no znode of the setup has this tag"),
        ("", "    get:\n      path: /a\n      weight: 0\n", "`weight` must be at least 1"),
        ("", "    create:\n      path: /a\n      remove_factor: 1.5\n", "must be between 0 and 1"),
        ("", "    multi:\n      multi:\n        get: { path: /a }\n", "a `multi` inside a `multi`"),
        ("", "    multi:\n      get: { path: /a }\n      set: { path: /a }\n", "either reads or writes"),
        ("", "    set:\n      path: /a\n      data: { random_string: { size: 2000000 } }\n", "2000000 bytes"),
        ("", "    get:\n      path: /a\n     weight: 1\n", "no YAML"),
        (
            "",
            "    set:\n      path: /a\n      data: { random_string: { size: { min_value: 9, max_value: 3 } } }\n",
            "not below",
        ),
    ] {
        let message = refusal(top, requests);
        assert!(message.contains(expected), "{message}\ninstead of\n{expected}");
    }
    assert!(keeper_bench::parse("").unwrap_err().contains("empty"));
    assert!(keeper_bench::parse("concurrency: 2\n").unwrap_err().contains("nothing to ask"));
}
