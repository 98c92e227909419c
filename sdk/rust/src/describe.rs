//! What an operator says about itself before it is opened.

use serde::Serialize;

/// How rows come out in relation to rows that went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Exactly one row or one error for each row.
    Map,
    /// At most one row for each row.
    Filter,
    /// Any number of rows for each row.
    Expand,
}

impl Shape {
    /// The word that the contract uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Filter => "filter",
            Self::Expand => "expand",
        }
    }
}

/// How determined an operator's answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The answer depends on the row and the settings alone.
    Pure,
    /// It also depends on a seed that the host gives with the row ([`seeds`](crate::seeds)).
    Seeded,
    /// It may differ from call to call.
    Open,
}

/// An input port: a column that the operator asks for by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The port's name: the name of its column in the input schema.
    pub name: &'static str,
    /// Accepted types, by the names in `wit/README.md`; `any` accepts every type.
    pub types: Vec<&'static str>,
    /// Whether its column may be missing.
    pub optional: bool,
    /// What it is for, in one line.
    pub summary: &'static str,
}

impl Port {
    /// A port that accepts one of `types` (names as in `wit/README.md`).
    pub fn new(name: &'static str, types: &[&'static str], summary: &'static str) -> Self {
        Self { name, types: types.to_vec(), optional: false, summary }
    }

    /// A port of text.
    pub fn utf8(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, &["utf8"], summary)
    }

    /// A port of bytes.
    pub fn binary(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, &["binary"], summary)
    }

    /// A port of files, parts of which are [read](crate::blobs) as they are needed.
    pub fn file(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, &["file"], summary)
    }

    /// A port of any type.
    pub fn any(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, &["any"], summary)
    }

    /// Its column may be missing.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// What an operator says about itself before it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Its name: a kebab-case or snake_case word, unique in the plugin.
    pub name: &'static str,
    /// Semver; raised when an answer changes.
    pub version: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its input ports, in the order in which their columns arrive.
    pub ports: Vec<Port>,
    /// Whether it takes columns beyond `ports`, under names of the pipeline's choice.
    pub any_columns: bool,
    /// The widest shape that `open` may answer.
    pub shape: Shape,
    /// Whether it may emit row errors: such an operator is run even when nobody reads its columns.
    pub rejects_rows: bool,
    /// How determined its answers are.
    pub profile: Profile,
    /// The capabilities that it can use, such as `http` or `models`; the pipeline must grant them.
    pub wants: Vec<&'static str>,
    /// Whether one row's results may flow on before the row is done.
    pub streaming: bool,
}

impl Description {
    /// An operator of this name whose widest shape is `shape`: version `0.1.0`, pure, without ports.
    pub fn new(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            version: "0.1.0",
            summary: "",
            ports: Vec::new(),
            any_columns: false,
            shape,
            rejects_rows: false,
            profile: Profile::Pure,
            wants: Vec::new(),
            streaming: false,
        }
    }

    /// The version of its answers.
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// What it does, in one line.
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Adds an input port.
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// It takes columns beyond its ports.
    pub fn any_columns(mut self) -> Self {
        self.any_columns = true;
        self
    }

    /// It may emit row errors.
    pub fn rejects_rows(mut self) -> Self {
        self.rejects_rows = true;
        self
    }

    /// One row's results may flow on before the row is done: for rows of which more comes than memory holds. An error of a row, or
    /// a panic, then costs all that was done with it once more, without the row.
    pub fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// It can use a capability: `http` or `models`.
    pub fn wants(mut self, capability: &'static str) -> Self {
        self.wants.push(capability);
        self
    }

    /// How determined its answers are.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }
}
