//! What a mix is, as it is written down: the znodes it starts from and the requests it chooses among.

/// A number, drawn anew each time it is used; both ends belong to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub min: u64,
    pub max: u64,
}

impl Size {
    pub const fn fixed(size: u64) -> Size {
        Size { min: size, max: size }
    }
}

/// A name or a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    Fixed(String),
    Random(Size),
}

impl Text {
    pub const EMPTY: Text = Text::Fixed(String::new());
}

/// Znodes of one kind, created before the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetupNode {
    pub name: Text,
    pub data: Text,
    pub repeat: u64,
    /// Collects them under a name that requests may choose from.
    pub tag: Option<String>,
    pub children: Vec<SetupNode>,
}

/// Where a request may take its path from. Several make one pool.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    Path(String),
    ChildrenOf(String),
    Tagged(String),
}

#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// create of a new name; of `remove_factor` of them, delete of a znode created before.
    Create {
        under: Vec<Source>,
        name_length: Size,
        data: Text,
        remove_factor: f64,
        tag: Option<String>,
    },
    Set {
        at: Vec<Source>,
        data: Text,
    },
    Get {
        at: Vec<Source>,
        watch: f64,
    },
    List {
        at: Vec<Source>,
        watch: f64,
    },
    /// `size` requests drawn from `parts`; without a size, one of each.
    Multi {
        size: Option<Size>,
        parts: Vec<Weighted>,
    },
}

/// A request and how often it is chosen, against its neighbours.
#[derive(Clone, PartialEq, Debug)]
pub struct Weighted {
    pub weight: u64,
    pub request: Request,
}

/// A mix, and how it is meant to be run.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub setup: Vec<SetupNode>,
    pub requests: Vec<Weighted>,
    pub seed: u64,
    pub terms: Terms,
}

/// How a mix is meant to be run; the command line may say otherwise.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Terms {
    pub servers: Option<String>,
    pub connections: Option<usize>,
    pub outstanding: Option<usize>,
    pub warmup_s: Option<f64>,
    pub duration_s: Option<f64>,
    pub session_timeout_ms: Option<u64>,
    /// What was asked for that a run does otherwise.
    pub notes: Vec<&'static str>,
}
