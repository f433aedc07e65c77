//! What can be wrong with a configuration, and what is merely worth a line.
//!
//! These texts are read by somebody whose server did not start: each says where (file and line), what, and what would be
//! right.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line { file: PathBuf, line: usize },
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A flag or positional argument of the command line.
    CommandLine(String),
    /// ringkeeper itself.
    BuiltIn,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(out, "{}:{line}", file.display()),
            Place::File(file) => write!(out, "{}", file.display()),
            Place::Environment(name) => write!(out, "environment variable {name}"),
            Place::CommandLine(name) => write!(out, "command line {name}"),
            Place::BuiltIn => write!(out, "built-in"),
        }
    }
}

/// The families of configuration errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// A file cannot be read.
    Unreadable,
    /// The text is not in the syntax of a properties file.
    Syntax,
    /// A value is not of its kind or out of its range.
    Value,
    /// Something required is absent.
    Missing,
    /// Two settings contradict each other, or the machine.
    Contradiction,
    /// The feature does not exist here yet, and starting without it would break a promise of safety or security.
    Unsupported,
    /// The command line makes no sense.
    CommandLine,
}

/// A reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub kind: ConfigErrorKind,
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl ConfigError {
    pub fn new(
        kind: ConfigErrorKind,
        place: impl Into<Option<Place>>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        ConfigError { kind, place: place.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The exit code of a process that could not start for this reason (PX-01).
    pub fn exit_code(&self) -> u8 {
        2
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        write!(out, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeLevel {
    /// Nothing to do.
    Info,
    /// Probably not what was meant.
    Warning,
}

/// A line for the log: what happened, to what, what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNotice {
    pub level: NoticeLevel,
    pub place: Option<Place>,
    pub text: String,
}

impl fmt::Display for ConfigNotice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        out.write_str(&self.text)
    }
}
