//! Sizes, times and limits.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes; written `512MiB`, `64KB`, `1GiB`, or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A time; written `10s`, `200ms`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Millis(pub u64);

/// What one guest instance may use. Each is a key of a plugin's `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuestLimits {
    /// Memory of one instance. Default `256MiB`.
    pub memory: Bytes,
    /// Guest time for one batch, and for `describe` and `open`. Default `30s`.
    pub time: Millis,
    /// Size of what one batch may emit in all. Default `256MiB`.
    pub emitted: Bytes,
    /// Length of one message (an error's, a log line's, a failure's); longer ones are cut. Default `4KiB`.
    pub message: Bytes,
    /// Size of the document of `describe`, and of what `open` returns. Default `1MiB`.
    pub description: Bytes,
    /// Lines a batch may log before the rest is dropped. Default 100.
    pub log_lines: u32,
    /// How deep types of the columns that are emitted may be nested. Default 64, and no more than that.
    pub nesting: u32,
    /// Instances of a stage at a time. Default 64.
    pub instances: u32,
    /// How long a request may take that the host makes for the guest, with all that it leads to, or a part of a file that it reads.
    /// Default `60s`.
    pub wait: Millis,
    /// Size of what one call of the host may bring into the guest. Default `64MiB`.
    pub received: Bytes,
    /// Rows of a run that may trap or meet a limit when they are alone; one more, and the stage is given up. Default 100.
    pub poisoned: u32,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory: Bytes(256 << 20),
            time: Millis(30_000),
            emitted: Bytes(256 << 20),
            message: Bytes(4 << 10),
            description: Bytes(1 << 20),
            log_lines: 100,
            nesting: 64,
            instances: 64,
            wait: Millis(60_000),
            received: Bytes(64 << 20),
            poisoned: 100,
        }
    }
}

/// How batches are cut. Results never depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    /// Rows of one batch at most. Default 8,192.
    pub rows: u32,
    /// Bytes of one batch, about; a larger row travels alone. Default `1MiB`.
    pub bytes: Bytes,
    /// The largest row; a larger one fails. Default `64MiB`.
    pub max_row: Bytes,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows: 8192, bytes: Bytes(1 << 20), max_row: Bytes(64 << 20) }
    }
}

impl Millis {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// `(suffix, factor)`, the longest suffixes first.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) =
        units.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number.trim(), *factor)))?;
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number * factor as f64).round() as u64)
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        text.parse()
            .ok()
            .or_else(|| with_unit(text, BYTE_UNITS))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as `512MiB` or `64KB`"))
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        with_unit(text.trim(), TIME_UNITS)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a time such as `10s` or `200ms`"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 => write!(f, "{:.1} GiB", n as f64 / (1u64 << 30) as f64),
            n if n >= 1 << 20 => write!(f, "{:.1} MiB", n as f64 / (1u64 << 20) as f64),
            n if n >= 1 << 10 => write!(f, "{:.1} KiB", n as f64 / (1u64 << 10) as f64),
            n => write!(f, "{n} B"),
        }
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1000 && n.is_multiple_of(1000) => write!(f, "{} s", n / 1000),
            n => write!(f, "{n} ms"),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ms", self.0))
    }
}

/// Reads a value that is written either as text with a unit or as a plain number.
struct Written<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = String>> de::Visitor<'_> for Written<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written(std::marker::PhantomData, "a size such as `512MiB`"))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written(std::marker::PhantomData, "a time such as `10s`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        for (text, bytes) in [("512MiB", 512 << 20), ("1.5KB", 1500), ("7", 7), ("3 B", 3)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for (text, millis) in [("10s", 10_000), ("200ms", 200), ("2m", 120_000)] {
            assert_eq!(text.parse(), Ok(Millis(millis)), "{text}");
        }
        assert!("10".parse::<Millis>().is_err() && "-1s".parse::<Millis>().is_err() && "MiB".parse::<Bytes>().is_err());
    }
}
