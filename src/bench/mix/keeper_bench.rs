//! keeper-bench's configuration (ClickHouse: `programs/keeper-bench`), read into a spec.
//!
//! A key that is not known is an error, lest a run measure something else than the file says. Known keys whose
//! meaning this generator has no room for are refused only where they would change what the server is asked.

use super::clickhouse::NAME_LENGTH;
use super::spec::{Request, SetupNode, Size, Source, Spec, Terms, Text, Weighted};
use super::yaml::{self, Node};

/// Keys about keeper-bench's own output, cleaning up and patience, which are other matters here: a run reports at
/// its end, removes what it made, and goes on after an error but fails in the end.
const NOT_OURS: &[&str] = &["name", "report_delay", "continue_on_error", "use_remove_recursive", "output"];

pub fn parse(text: &str) -> Result<Spec, String> {
    let file = yaml::parse(text)?;
    let mut spec = Spec { setup: Vec::new(), requests: Vec::new(), seed: 1, terms: Terms::default() };
    let (mut concurrency, mut depth, mut sessions) = (None, 1, None);
    for (key, node) in file.pairs("the file")? {
        match key.as_str() {
            "concurrency" => concurrency = Some(at_least_one(node, key)?),
            "pipeline_depth" => depth = at_least_one(node, key)?,
            "timelimit" => spec.terms.duration_s = Some(seconds(node, key)?).filter(|s| *s > 0.0),
            "warmup_seconds" => spec.terms.warmup_s = Some(seconds(node, key)?),
            "iterations" if node.number(key)? == 0 => {}
            "iterations" => spec.terms.notes.push("`iterations` is not counted: a run ends by its time"),
            "enable_tracing" => must_be_off(node, key)?,
            "connections" => sessions = connections(node, &mut spec.terms)?,
            "setup" => spec.setup = setup_nodes(node, "setup")?,
            "generator" => generator(node, &mut spec)?,
            key if NOT_OURS.contains(&key) => {}
            _ => return Err(unknown(node, key, "the file")),
        }
    }
    if spec.requests.is_empty() {
        return Err("no `generator` with `requests` in it: there is nothing to ask".into());
    }
    match (concurrency, sessions) {
        // keeper-bench's threads share the sessions of the file: so many requests are on their way in all.
        (_, Some(sessions)) => {
            spec.terms.connections = Some(sessions);
            spec.terms.outstanding = Some((concurrency.unwrap_or(1) * depth).div_ceil(sessions));
        }
        (concurrency, None) => {
            spec.terms.connections = Some(concurrency.unwrap_or(1));
            spec.terms.outstanding = Some(depth);
        }
    }
    Ok(spec)
}

fn unknown(node: &Node, key: &str, place: &str) -> String {
    node.error(&format!("unknown key `{key}` in `{place}`"))
}

fn at_least_one(node: &Node, key: &str) -> Result<usize, String> {
    match node.parse(key, "whole number")? {
        0 => Err(node.error(&format!("`{key}` must be at least 1"))),
        number => Ok(number),
    }
}

fn seconds(node: &Node, key: &str) -> Result<f64, String> {
    let seconds: f64 = node.parse(key, "number of seconds")?;
    if (0.0..1e9).contains(&seconds) { Ok(seconds) } else { Err(node.error(&format!("`{key}` is no time"))) }
}

fn must_be_off(node: &Node, key: &str) -> Result<(), String> {
    match node.parse(key, "truth value (true or false)")? {
        false => Ok(()),
        true => Err(node.error(&format!("`{key}: true` is not spoken by this generator"))),
    }
}

/// Endpoints and how many sessions they get, if the file says.
fn connections(node: &Node, terms: &mut Terms) -> Result<Option<usize>, String> {
    let (mut hosts, mut sessions, mut told) = (Vec::new(), 0, false);
    for (key, node) in node.pairs("connections")? {
        match key.as_str() {
            "host" => {
                for host in node.items() {
                    hosts.push(host.text(key)?.to_string());
                    sessions += 1;
                }
            }
            "connection" => {
                for one in node.items() {
                    let mut own = 1;
                    for (key, node) in one.pairs("connection")? {
                        match key.as_str() {
                            "host" => hosts.push(node.text(key)?.to_string()),
                            "sessions" => {
                                own = at_least_one(node, key)?;
                                told = true;
                            }
                            _ => connection_setting(key, node, "connection", terms)?,
                        }
                    }
                    sessions += own;
                }
            }
            _ => connection_setting(key, node, "connections", terms)?,
        }
    }
    if !hosts.is_empty() {
        terms.servers = Some(hosts.join(","));
    }
    Ok(told.then_some(sessions))
}

fn connection_setting(key: &str, node: &Node, place: &str, terms: &mut Terms) -> Result<(), String> {
    match key {
        "secure" | "use_compression" | "use_xid_64" => must_be_off(node, key)?,
        "session_timeout_ms" => terms.session_timeout_ms = Some(node.number(key)?),
        // How long to wait for a server is the generator's own matter.
        "operation_timeout_ms" | "connection_timeout_ms" => drop(node.number(key)?),
        _ => return Err(unknown(node, key, place)),
    }
    Ok(())
}

/// The `node`s of a mapping; a list stands for as many of them.
fn setup_nodes(node: &Node, place: &str) -> Result<Vec<SetupNode>, String> {
    let mut all = Vec::new();
    for (key, node) in node.pairs(place)? {
        if key != "node" {
            return Err(unknown(node, key, place));
        }
        for one in node.items() {
            all.push(setup_node(one)?);
        }
    }
    Ok(all)
}

fn setup_node(node: &Node) -> Result<SetupNode, String> {
    let (mut name, mut data, mut repeat, mut tag, mut children) = (None, Text::EMPTY, 1, None, Vec::new());
    for (key, node) in node.pairs("node")? {
        match key.as_str() {
            "name" => name = Some(text(node, key)?),
            "data" => data = text(node, key)?,
            "repeat" => repeat = at_least_one(node, key)? as u64,
            "tag" => tag = Some(node.text(key)?.to_string()),
            "node" => {
                for one in node.items() {
                    children.push(setup_node(one)?);
                }
            }
            _ => return Err(unknown(node, key, "node")),
        }
    }
    match name.ok_or(node.error("a `node` without a `name`"))? {
        Text::Fixed(_) if repeat > 1 => Err(node.error("`repeat` needs a random `name`")),
        Text::Fixed(name) if name.is_empty() || name.contains('/') => {
            Err(node.error(&format!("`name: {name}` is no name of a znode")))
        }
        name => Ok(SetupNode { name, data, repeat, tag, children }),
    }
}

fn generator(node: &Node, spec: &mut Spec) -> Result<(), String> {
    for (key, node) in node.pairs("generator")? {
        match key.as_str() {
            "seed" => spec.seed = node.number(key)?,
            "requests" => {
                for (key, node) in node.pairs(key)? {
                    spec.requests.push(weighted(key, node, "requests")?);
                }
            }
            _ => return Err(unknown(node, key, "generator")),
        }
    }
    Ok(())
}

/// One kind of request: `key` names it, `node` describes it.
fn weighted(key: &str, node: &Node, place: &str) -> Result<Weighted, String> {
    if key == "multi" && place == "multi" {
        return Err(node.error("a `multi` inside a `multi`"));
    }
    if !["create", "set", "get", "list", "multi"].contains(&key) {
        return Err(unknown(node, key, place));
    }
    let (mut weight, mut paths, mut data, mut size, mut parts) = (1, Vec::new(), Text::EMPTY, None, Vec::new());
    let (mut name_length, mut remove_factor, mut tag, mut watch) = (Size::fixed(NAME_LENGTH), 0.0, None, 0.0);
    for (inner, node) in node.pairs(key)? {
        match (key, inner.as_str()) {
            (_, "weight") => weight = at_least_one(node, inner)? as u64,
            ("multi", "size") => size = Some(number_or_range(node, inner)?),
            ("multi", _) => parts.push(weighted(inner, node, "multi")?),
            (_, "path") => paths.extend(sources(node)?),
            ("create" | "set", "data") => data = text(node, inner)?,
            ("create", "name_length") => name_length = number_or_range(node, inner)?,
            ("create", "remove_factor") => remove_factor = node.share(inner)?,
            ("create", "tag") => tag = Some(node.text(inner)?.to_string()),
            ("get" | "list", "watch_probability") => watch = node.share(inner)?,
            _ => return Err(unknown(node, inner, key)),
        }
    }
    if key != "multi" && paths.is_empty() {
        return Err(node.error(&format!("`{key}` has no `path`")));
    }
    if name_length.min == 0 {
        return Err(node.error("`name_length` must be at least 1"));
    }
    let request = match key {
        "create" => Request::Create { under: paths, name_length, data, remove_factor, tag },
        "set" => Request::Set { at: paths, data },
        "get" => Request::Get { at: paths, watch },
        "list" => Request::List { at: paths, watch },
        _ if parts.is_empty() => return Err(node.error("a `multi` without requests in it")),
        _ => Request::Multi { size, parts },
    };
    Ok(Weighted { weight, request })
}

/// What a `path` stands for: a path, a list of them, `children_of` a znode, or the `tagged` ones.
fn sources(node: &Node) -> Result<Vec<Source>, String> {
    let mut all = Vec::new();
    for one in node.items() {
        if let Ok(path) = one.text("path") {
            all.push(Source::Path(absolute(one, path)?));
            continue;
        }
        for (key, node) in one.pairs("path")? {
            for name in node.items() {
                let text = name.text(key)?;
                all.push(match key.as_str() {
                    "children_of" => Source::ChildrenOf(absolute(name, text)?),
                    "tagged" => Source::Tagged(text.to_string()),
                    _ => return Err(unknown(node, key, "path")),
                });
            }
        }
    }
    Ok(all)
}

fn absolute(node: &Node, path: &str) -> Result<String, String> {
    let names = path.strip_prefix('/').ok_or(node.error(&format!("the path `{path}` does not begin with /")))?;
    if names.split('/').any(str::is_empty) {
        return Err(node.error(&format!("the path `{path}` has an empty name in it")));
    }
    Ok(path.to_string())
}

/// A constant or `random_string`.
fn text(node: &Node, what: &str) -> Result<Text, String> {
    if let Ok(text) = node.text(what) {
        return Ok(Text::Fixed(text.to_string()));
    }
    match node.pairs(what)? {
        [(key, random)] if key == "random_string" => match random.pairs(key)? {
            [(key, size)] if key == "size" => Ok(Text::Random(number_or_range(size, key)?)),
            _ => Err(random.error("a `random_string` has a `size` and nothing else")),
        },
        _ => Err(node.error(&format!("`{what}` must be a text or a `random_string`"))),
    }
}

/// A constant, or `min_value` and `max_value`.
fn number_or_range(node: &Node, what: &str) -> Result<Size, String> {
    if node.text(what).is_ok() {
        return match node.number(what)? {
            number if number < 1 << 31 => Ok(Size::fixed(number)),
            number => Err(node.error(&format!("`{what}: {number}` is too large"))),
        };
    }
    let (mut min, mut max) = (None, None);
    for (key, node) in node.pairs(what)? {
        match key.as_str() {
            "min_value" => min = Some(node.number(key)?),
            "max_value" => max = Some(node.number(key)?),
            _ => return Err(unknown(node, key, what)),
        }
    }
    match (min, max) {
        (Some(min), Some(max)) if min <= max && max < 1 << 31 => Ok(Size { min, max }),
        _ => Err(node.error(&format!("`{what}` needs a `min_value` and a `max_value` that is not below it"))),
    }
}
