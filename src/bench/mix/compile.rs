//! A spec made ready: paths have become numbers, weights limits, and what can never be asked has been refused.

use std::collections::HashMap;

use super::setup::{Setup, Znode};
use super::spec::{Request, Size, Source, Spec, Text, Weighted};
use crate::bench::plan::{self, Kind};
use crate::bench::wire;

/// A mix, ready to be drawn from. What changes while it runs, each connection keeps for itself (`Own`).
pub struct Mix {
    /// What must be there before the first request, parents first.
    pub znodes: Vec<Znode>,
    pub(super) requests: Choice,
    /// Sets of created znodes that requests take from; each connection has its own.
    pub(super) pools: usize,
    /// Random values are cut out of this.
    pub(super) noise: Vec<u8>,
    pub(super) connections: usize,
    request_bytes_max: usize,
}

/// Operations and how often each is chosen.
pub(super) struct Choice {
    pub ops: Vec<Op>,
    /// A number below the last of these chooses the first operation whose limit lies above it.
    pub limits: Vec<u64>,
}

/// Paths to choose from: those of the setup, which stay, and pools, whose znodes come and go.
pub(super) struct Paths {
    pub fixed: Vec<u32>,
    pub pools: Vec<usize>,
}

pub(super) enum Data {
    Fixed(Vec<u8>),
    Noise(Size),
}

pub(super) enum Op {
    /// `remove_below`: a 32-bit random number below this makes it a delete, if the pool has something to delete.
    Create {
        under: Vec<u32>,
        name_length: Size,
        data: Data,
        remove_below: u64,
        pool: Option<usize>,
    },
    Set {
        at: Paths,
        data: Data,
    },
    Read {
        op: i32,
        at: Paths,
        watch_below: u64,
    },
    Multi {
        op: i32,
        size: Option<Size>,
        parts: Choice,
    },
}

/// A value longer than this does not fit into a request of any server (jute.maxbuffer).
const VALUE_BYTES_MAX: u64 = 1 << 20;

impl Mix {
    /// `connections` keeps the names apart that they give.
    pub fn new(spec: &Spec, root: &str, connections: usize) -> Result<Mix, String> {
        let mut compiler = Compiler {
            setup: Setup::new(root, &spec.setup, spec.seed),
            pools: HashMap::new(),
            pool_count: 0,
            value_bytes_max: 0,
        };
        compiler.find_pools(&spec.requests);
        let requests = compiler.choice(&spec.requests, false)?;
        let path_bytes_max = compiler.setup.znodes.iter().map(|znode| znode.path.len()).max().unwrap_or_default();
        let parts = parts_max(&spec.requests);
        let name_bytes_max = name_bytes_max(&spec.requests);
        Ok(Mix {
            requests,
            pools: compiler.pool_count,
            noise: plan::value(compiler.value_bytes_max + (64 << 10)),
            connections,
            request_bytes_max: 64 + parts * (compiler.value_bytes_max + path_bytes_max + name_bytes_max + 96),
            znodes: compiler.setup.znodes,
        })
    }

    pub fn request_bytes_max(&self) -> usize {
        self.request_bytes_max
    }

    /// What the likeliest request is.
    pub fn usual_kind(&self) -> Kind {
        let (mut reads, mut last) = (0, 0);
        for (op, limit) in self.requests.ops.iter().zip(&self.requests.limits) {
            if op.kind() == Kind::Read {
                reads += limit - last;
            }
            last = *limit;
        }
        if 2 * reads >= last { Kind::Read } else { Kind::Write }
    }
}

impl Op {
    pub fn kind(&self) -> Kind {
        match self {
            Op::Read { .. } | Op::Multi { op: wire::op::MULTI_READ, .. } => Kind::Read,
            Op::Create { .. } | Op::Set { .. } | Op::Multi { .. } => Kind::Write,
        }
    }
}

/// Operations of the longest request.
fn parts_max(requests: &[Weighted]) -> usize {
    let parts = requests.iter().map(|one| match &one.request {
        Request::Multi { size, parts } => size.map_or(parts.len(), |size| size.max as usize),
        _ => 1,
    });
    parts.max().unwrap_or(1)
}

fn name_bytes_max(requests: &[Weighted]) -> usize {
    let names = requests.iter().map(|one| match &one.request {
        Request::Create { name_length, .. } => name_length.max as usize,
        Request::Multi { parts, .. } => name_bytes_max(parts),
        _ => 0,
    });
    names.max().unwrap_or_default()
}

fn below(share: f64) -> u64 {
    (share * (1u64 << 32) as f64) as u64
}

/// Every request, those inside multis as well.
fn all(requests: &[Weighted]) -> impl Iterator<Item = &Request> {
    requests.iter().flat_map(|one| {
        let inner: &[Weighted] = if let Request::Multi { parts, .. } = &one.request { parts } else { &[] };
        std::iter::once(&one.request).chain(inner.iter().map(|part| &part.request))
    })
}

/// The set that created znodes go to: the tag's, or else the children of the one parent. None where a create
/// has many parents and no tag; only its own deletes can find such znodes.
fn output(under: &[Source], tag: Option<&String>) -> Option<Source> {
    match (tag, under) {
        (Some(tag), _) => Some(Source::Tagged(tag.clone())),
        (None, [Source::Path(path)]) => Some(Source::ChildrenOf(path.clone())),
        _ => None,
    }
}

struct Compiler {
    setup: Setup,
    /// Sets that creates add to and somebody takes from.
    pools: HashMap<Source, usize>,
    pool_count: usize,
    value_bytes_max: usize,
}

impl Compiler {
    fn find_pools(&mut self, requests: &[Weighted]) {
        let read: Vec<&Source> = all(requests)
            .filter_map(|request| match request {
                Request::Set { at, .. } | Request::Get { at, .. } | Request::List { at, .. } => Some(at),
                Request::Create { .. } | Request::Multi { .. } => None,
            })
            .flatten()
            .collect();
        for request in all(requests) {
            let Request::Create { under, tag, remove_factor, .. } = request else { continue };
            let Some(set) = output(under, tag.as_ref()) else { continue };
            if (*remove_factor > 0.0 || read.contains(&&set)) && !self.pools.contains_key(&set) {
                let pool = self.new_pool();
                self.pools.insert(set, pool);
            }
        }
    }

    fn new_pool(&mut self) -> usize {
        self.pool_count += 1;
        self.pool_count - 1
    }

    fn choice(&mut self, requests: &[Weighted], in_multi: bool) -> Result<Choice, String> {
        let mut limits = Vec::new();
        let mut sum = 0u64;
        for one in requests {
            sum = sum.saturating_add(one.weight);
            limits.push(sum);
        }
        if sum >= 1 << 32 {
            return Err("the weights are too large: together they must stay below 2^32".into());
        }
        let ops = requests.iter().map(|one| self.op(&one.request, in_multi)).collect::<Result<_, _>>()?;
        Ok(Choice { ops, limits })
    }

    fn op(&mut self, request: &Request, in_multi: bool) -> Result<Op, String> {
        Ok(match request {
            Request::Create { under, name_length, data, remove_factor, tag } => {
                let pool = match output(under, tag.as_ref()) {
                    Some(set) => self.pools.get(&set).copied(),
                    None if *remove_factor > 0.0 => Some(self.new_pool()),
                    None => None,
                };
                let under = self.paths(under)?;
                if !under.pools.is_empty() {
                    return Err("a create below znodes that another create makes: this generator has none such".into());
                }
                let (data, remove_below) = (self.data(data)?, below(*remove_factor));
                Op::Create { under: under.fixed, name_length: *name_length, data, remove_below, pool }
            }
            Request::Set { at, data } => Op::Set { at: self.paths(at)?, data: self.data(data)? },
            Request::Get { at, watch } => {
                Op::Read { op: wire::op::GET_DATA, at: self.paths(at)?, watch_below: below(*watch) }
            }
            Request::List { at, watch } => {
                // Inside a multi only the older of the two listings exists.
                let op = if in_multi { wire::op::GET_CHILDREN } else { wire::op::GET_CHILDREN2 };
                Op::Read { op, at: self.paths(at)?, watch_below: below(*watch) }
            }
            Request::Multi { size, parts } => {
                let parts = self.choice(parts, true)?;
                let reads = parts.ops.iter().filter(|op| op.kind() == Kind::Read).count();
                let op = match reads {
                    0 => wire::op::MULTI,
                    _ if reads == parts.ops.len() => wire::op::MULTI_READ,
                    _ => return Err("a multi has either reads or writes in it; no server takes both in one".into()),
                };
                if size.is_some_and(|size| size.min == 0 || size.max > 10_000) {
                    return Err("the `size` of a multi must lie between 1 and 10000".into());
                }
                Op::Multi { op, size: *size, parts }
            }
        })
    }

    fn data(&mut self, text: &Text) -> Result<Data, String> {
        let (data, bytes) = match text {
            Text::Fixed(text) => (Data::Fixed(text.clone().into_bytes()), text.len() as u64),
            Text::Random(size) => (Data::Noise(*size), size.max),
        };
        if bytes > VALUE_BYTES_MAX {
            return Err(format!("values of {bytes} bytes: no request takes more than {VALUE_BYTES_MAX}"));
        }
        self.value_bytes_max = self.value_bytes_max.max(bytes as usize);
        Ok(data)
    }

    fn paths(&mut self, sources: &[Source]) -> Result<Paths, String> {
        let mut paths = Paths { fixed: Vec::new(), pools: Vec::new() };
        for source in sources {
            let members = self.setup.members(source);
            let pool = self.pools.get(source).copied();
            paths.pools.extend(pool);
            match source {
                _ if pool.is_some() || !members.is_empty() => paths.fixed.extend(members),
                Source::ChildrenOf(path) => {
                    return Err(format!("`children_of: {path}`: the setup makes no children there"));
                }
                Source::Tagged(tag) => return Err(format!("`tagged: {tag}`: no znode of the setup has this tag")),
                Source::Path(_) => unreachable!("a path has itself as its member"),
            }
        }
        Ok(paths)
    }
}
