//! A list of a volume's files, for servers that give none.

use std::io::{BufRead, BufReader, Read};

use dflow_pipeline::{Codec, Fault};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::Web;
use crate::IoError;

/// A file that a manifest names.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    /// Its path in the volume, or its URL.
    pub(super) path: String,
    /// Its size in bytes.
    #[serde(default)]
    pub(super) size: Option<u64>,
    /// The version of its content.
    #[serde(default)]
    pub(super) etag: Option<String>,
}

impl Web {
    /// Reads a manifest: a path or a URL a line; or, of a name that ends in `.jsonl`, an object a line with `path` and, so that
    /// the server needn't be asked, `size` and `etag`. Empty lines mean nothing.
    pub(super) fn entries(&self, name: &str, content: impl Read) -> Result<Vec<Entry>, IoError> {
        let stem = Codec::ALL
            .iter()
            .flat_map(|codec| codec.2)
            .find_map(|ending| name.strip_suffix(ending).and_then(|stem| stem.strip_suffix('.')));
        let json = [".jsonl", ".ndjson"].iter().any(|ending| stem.unwrap_or(name).ends_with(ending));
        let mut entries = Vec::new();
        for (i, line) in BufReader::new(content).lines().enumerate() {
            let line = line
                .map_err(|error| IoError::new(Fault::Outside, format!("can't read the manifest `{name}`: {error}")))?;
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.is_empty() {
                continue;
            }
            let wrong = |why: String| {
                let message = format!("line {} of the manifest `{name}` {why}", i + 1);
                IoError::new(Fault::Data, message)
            };
            let mut entry = match json {
                true => {
                    serde_json::from_str(line).map_err(|error| wrong(format!("is no object with a `path`: {error}")))?
                }
                false => Entry { path: line.to_owned(), size: None, etag: None },
            };
            entry.path = self.path_of(&entry.path).map_err(|(why, hint)| wrong(why).hint(hint))?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The path in this volume that a line means; else what is wrong with it, and a hint.
    fn path_of(&self, line: &str) -> Result<String, (String, &'static str)> {
        let path = if line.starts_with("http://") || line.starts_with("https://") {
            let Some(below) = line.strip_prefix(&self.url).and_then(|below| below.strip_prefix('/')) else {
                // It may hold what is secret: only its host is shown.
                let host = line.split("//").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
                let host = host.map_or("", |host| host.rsplit('@').next().unwrap_or(host));
                return Err((
                    format!("is a URL on `{host}` that isn't under `{}`", self.url),
                    "a manifest names files of its own volume; make another volume for the others",
                ));
            };
            if below.contains(['?', '#']) {
                return Err(("is a URL with a query or a fragment".to_owned(), "name files by their path alone"));
            }
            match percent_decode_str(below).decode_utf8() {
                Ok(path) => path.into_owned(),
                Err(_) => {
                    return Err(("is a URL whose path is not UTF-8".to_owned(), "leave it out, or rename the file"));
                }
            }
        } else {
            line.trim_start_matches('/').to_owned()
        };
        match path.split('/').find(|part| matches!(*part, "" | "." | "..")) {
            Some(part) => Err((
                format!("names the path `{path}`, which has the part `{part}`"),
                "write the path of a file from the volume's `url` on",
            )),
            None => Ok(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use dflow_pipeline::Volume;

    use super::*;
    use crate::testing::Ground;

    #[test]
    fn a_manifest_names_files_of_its_volume() {
        let ground = Ground::new();
        let volume = Volume { url: "https://host/base/".to_owned(), ..Volume::default() };
        let web = Web::new("docs", &volume, ground.io()).unwrap();
        let entries = |name: &str, text: &str| web.entries(name, text.as_bytes());
        let paths = |name: &str, text: &str| -> Vec<String> {
            entries(name, text).unwrap().into_iter().map(|entry| entry.path).collect()
        };
        let text = "a.html\r\n\n/sub/b c.html\n  https://host/base/%C3%BC%201.txt \n100%.txt";
        assert_eq!(paths("files.txt", text), ["a.html", "sub/b c.html", "ü 1.txt", "100%.txt"]);
        let text = r#"{"path":"a","size":5,"etag":"x","more":1}"#;
        for name in ["files.jsonl", "files.ndjson.gz"] {
            let entry = Entry { path: "a".to_owned(), size: Some(5), etag: Some("x".to_owned()) };
            assert_eq!(entries(name, text).unwrap(), [entry]);
        }
        for (name, text, message) in [
            (
                "f.txt",
                "a\nhttps://user:secret@other/x",
                "line 2 of the manifest `f.txt` is a URL on `other` that isn't under `https://host/base`",
            ),
            (
                "f.txt",
                "https://host/based/x",
                "line 1 of the manifest `f.txt` is a URL on `host` that isn't under `https://host/base`",
            ),
            ("f.txt", "https://host/base/x?y", "line 1 of the manifest `f.txt` is a URL with a query or a fragment"),
            ("f.txt", "../x", "line 1 of the manifest `f.txt` names the path `../x`, which has the part `..`"),
            ("f.txt", "a//b", "line 1 of the manifest `f.txt` names the path `a//b`, which has the part ``"),
            (
                "f.jsonl",
                "{}",
                "line 1 of the manifest `f.jsonl` is no object with a `path`: missing field `path` at line 1 column 2",
            ),
        ] {
            let error = entries(name, text).unwrap_err();
            assert_eq!((error.fault, error.message.as_str()), (Fault::Data, message));
        }
    }
}
