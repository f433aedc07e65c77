//! The mixes that ClickHouse publishes for its Keeper (`tests/stress/keeper/workloads`), by name.
//!
//! All start from the same znodes: one hot one, a pool of 64, and an empty parent whose children come and go;
//! 640 connections ask one request at a time. What differs is the shares, and in one the size of values.

use super::spec::{Request, SetupNode, Size, Source, Spec, Terms, Text, Weighted};
use crate::bench::Workload;

const HOT: &str = "/e2e/prod/hot";
const POOL: &str = "/e2e/prod/pool";
const CHURN: &str = "/e2e/prod/churn";
const PARENT: &str = "/e2e/prod";

/// Bytes of a value: those of the recorded production traffic, and the large ones.
const USUAL: Size = Size { min: 0, max: 162 };
const LARGE: Size = Size { min: 1024, max: 4096 };

/// The mix behind a name; none for the plain workloads.
pub fn spec(workload: Workload) -> Option<Spec> {
    let requests = match workload {
        Workload::ClickhouseRead => vec![get(90), list(10)],
        Workload::ClickhouseReadList => vec![list(75), get(25)],
        Workload::ClickhouseHotGet => vec![hot_get(100)],
        Workload::ClickhouseWrite => vec![create(60, USUAL, 0.49), set(40, USUAL)],
        Workload::ClickhouseChurn => vec![create(80, USUAL, 0.7), set(20, USUAL)],
        Workload::ClickhouseProdMix => production(USUAL),
        Workload::ClickhouseLargeValues => production(LARGE),
        Workload::ClickhouseWriteMulti => {
            vec![create(25, USUAL, 0.49), set(25, USUAL), multi(50, Size { min: 5, max: 15 }, USUAL, 0.0)]
        }
        Workload::ClickhouseLargeMulti => vec![multi(100, Size { min: 10, max: 30 }, USUAL, 0.3)],
        _ => return None,
    };
    let values = if workload == Workload::ClickhouseLargeValues { LARGE } else { USUAL };
    let terms = Terms { connections: Some(640), outstanding: Some(1), ..Terms::default() };
    Some(Spec { setup: vec![setup(values)], requests, seed: 1, terms })
}

fn production(values: Size) -> Vec<Weighted> {
    let multi = multi(11, Size { min: 3, max: 7 }, values, 0.0);
    vec![get(38), create(34, values, 0.49), set(9, values), multi, list(4)]
}

fn setup(values: Size) -> SetupNode {
    let named =
        |name: &str, data, children| SetupNode { name: Text::Fixed(name.into()), data, repeat: 1, tag: None, children };
    let pool = SetupNode {
        name: Text::Random(Size::fixed(12)),
        data: Text::Random(values),
        repeat: 64,
        tag: None,
        children: Vec::new(),
    };
    let places = vec![
        named("hot", Text::Random(values), Vec::new()),
        named("pool", Text::EMPTY, vec![pool]),
        named("churn", Text::EMPTY, Vec::new()),
    ];
    named("e2e", Text::EMPTY, vec![named("prod", Text::EMPTY, places)])
}

fn at(path: &str) -> Source {
    Source::Path(path.into())
}

fn children_of(path: &str) -> Source {
    Source::ChildrenOf(path.into())
}

fn get(weight: u64) -> Weighted {
    Weighted { weight, request: Request::Get { at: vec![at(HOT), children_of(PARENT)], watch: 0.0 } }
}

fn hot_get(weight: u64) -> Weighted {
    Weighted { weight, request: Request::Get { at: vec![at(HOT)], watch: 0.0 } }
}

fn list(weight: u64) -> Weighted {
    Weighted { weight, request: Request::List { at: vec![at(POOL), children_of(PARENT)], watch: 0.0 } }
}

fn set(weight: u64, values: Size) -> Weighted {
    Weighted { weight, request: Request::Set { at: vec![at(HOT), children_of(POOL)], data: Text::Random(values) } }
}

fn create(weight: u64, values: Size, remove_factor: f64) -> Weighted {
    let request = Request::Create {
        under: vec![at(CHURN), at(POOL), children_of(POOL)],
        name_length: Size { min: 8, max: 16 },
        data: Text::Random(values),
        remove_factor,
        tag: None,
    };
    Weighted { weight, request }
}

/// Creates and changes in equal parts, in one transaction.
fn multi(weight: u64, size: Size, values: Size, remove_factor: f64) -> Weighted {
    let create = Request::Create {
        under: vec![at(CHURN)],
        name_length: Size::fixed(NAME_LENGTH),
        data: Text::Random(values),
        remove_factor,
        tag: None,
    };
    let set = Request::Set { at: vec![at(HOT)], data: Text::Random(values) };
    let parts = [create, set].map(|request| Weighted { weight: 1, request }).into();
    Weighted { weight, request: Request::Multi { size: Some(size), parts } }
}

/// keeper-bench's length of a created name, where nothing is said.
pub const NAME_LENGTH: u64 = 5;
