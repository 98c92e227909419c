//! File formats and how files are compressed: what their names say of both.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// A JSON document: an array of objects, or objects one after the other.
    Json,
    /// Arrow IPC: files, and (to be read) streams.
    Arrow,
    /// Plain text, UTF-8.
    Text,
    /// HTML pages, one row a file.
    Html,
    /// Files of any kind, one row a file: their bytes.
    Blob,
}

impl Format {
    /// Every format, with the endings of file names that mean it.
    pub const ALL: &'static [(Self, &'static str, &'static [&'static str])] = &[
        (Self::Parquet, "parquet", &["parquet"]),
        (Self::Csv, "csv", &["csv"]),
        (Self::Jsonl, "jsonl", &["jsonl", "ndjson"]),
        (Self::Json, "json", &["json"]),
        (Self::Arrow, "arrow", &["arrow", "arrows", "feather", "ipc"]),
        (Self::Text, "text", &["txt", "text", "md", "log"]),
        (Self::Html, "html", &["html", "htm"]),
        (Self::Blob, "blob", &[]),
    ];

    /// Its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|f| f.0 == self).map_or("", |f| f.1)
    }

    /// Whether its files hold rows of columns.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Parquet | Self::Csv | Self::Jsonl | Self::Json | Self::Arrow)
    }

    /// Whether it has no compression of its own.
    pub fn takes_codec(self) -> bool {
        !matches!(self, Self::Parquet)
    }

    /// The format that a file's name means, a codec's ending aside: `a.csv.gz` is csv.
    pub fn of_name(name: &str) -> Option<Self> {
        let (stem, _) = Codec::split_name(name);
        let (_, ending) = stem.rsplit_once('.')?;
        Self::ALL.iter().find(|f| f.2.contains(&ending.to_ascii_lowercase().as_str())).map(|f| f.0)
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
    /// bzip2, of one or several streams.
    Bzip2,
    /// xz, of one or several streams.
    Xz,
}

impl Codec {
    /// Every codec, with its name in a pipeline file and the endings of file names that mean it (its other names).
    pub const ALL: &'static [(Self, &'static str, &'static [&'static str])] = &[
        (Self::None, "none", &[]),
        (Self::Gzip, "gzip", &["gz", "gzip"]),
        (Self::Zstd, "zstd", &["zst", "zstd"]),
        (Self::Bzip2, "bzip2", &["bz2"]),
        (Self::Xz, "xz", &["xz"]),
    ];

    /// Its name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|c| c.0 == self).map_or("", |c| c.1)
    }

    /// Every name that one has in a pipeline file.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().flat_map(|(_, name, others)| {
            std::iter::once(*name).chain(others.iter().copied().filter(move |other| other != name))
        })
    }

    /// What a file's name ends with behind its format's ending: `.gz`.
    pub fn ending(self) -> String {
        let ending = Self::ALL.iter().find(|c| c.0 == self).and_then(|c| c.2.first());
        ending.map_or_else(String::new, |ending| format!(".{ending}"))
    }

    /// The codec that a file's name means: [`Codec::None`] when its ending is none of a codec.
    pub fn of_name(name: &str) -> Self {
        Self::split_name(name).1
    }

    /// A file's name without its codec's ending, and the codec.
    fn split_name(name: &str) -> (&str, Self) {
        let found = name.rsplit_once('.').and_then(|(stem, ending)| {
            let ending = ending.to_ascii_lowercase();
            Self::ALL.iter().find(|c| c.2.contains(&ending.as_str())).map(|c| (stem, c.0))
        });
        found.unwrap_or((name, Self::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_format_and_codec() {
        for (name, format, codec) in [
            ("a/pages.html.gz", Some(Format::Html), Codec::Gzip),
            ("log.TXT.ZST", Some(Format::Text), Codec::Zstd),
            ("x.jsonl.gzip", Some(Format::Jsonl), Codec::Gzip),
            ("x.csv.zstd", Some(Format::Csv), Codec::Zstd),
            ("x.log.bz2", Some(Format::Text), Codec::Bzip2),
            ("x.md.xz", Some(Format::Text), Codec::Xz),
            ("x.csv", Some(Format::Csv), Codec::None),
            ("x.gz", None, Codec::Gzip),
            ("gz", None, Codec::None),
            ("x.tar.gz.txt", Some(Format::Text), Codec::None),
        ] {
            assert_eq!((Format::of_name(name), Codec::of_name(name)), (format, codec), "{name}");
        }
        for (codec, name, others) in Codec::ALL {
            assert_eq!(codec.as_str(), *name);
            assert!(others.iter().all(|other| Codec::of_name(&format!("x.{other}")) == *codec));
        }
    }
}
