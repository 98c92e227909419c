//! A place as the user writes it, resolved: which volume, and which path in it.

use dflow_pipeline::Fault;

use crate::IoError;

/// The volume of absolute paths, by its name in identities.
pub(crate) const ABSOLUTE: &str = "file";
/// The volume of paths that are relative to the pipeline's folder.
pub(crate) const RELATIVE: &str = "";

/// A volume and a path in it, without empty and `.` parts; `..` only at the start, and only relative to the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) volume: String,
    pub(crate) path: String,
}

/// What stands between a volume's name and a path in it.
fn separator(volume: &str) -> &'static str {
    match volume {
        RELATIVE => "",
        ABSOLUTE => ":///",
        _ => "://",
    }
}

/// How a user writes a path of a volume, in pieces.
pub(crate) fn uri_pieces<'a>(volume: &'a str, path: &'a str) -> [&'a str; 3] {
    [volume, separator(volume), path]
}

/// How a user writes a path of a volume.
pub(crate) fn uri(volume: &str, path: &str) -> String {
    uri_pieces(volume, path).concat()
}

impl Location {
    /// Reads `volume://path`, `file:///absolute`, `/absolute` or a relative path. Nothing in it is percent-encoded.
    pub(crate) fn parse<'a>(text: &str, volumes: impl Iterator<Item = &'a str>) -> Result<Self, IoError> {
        if text.is_empty() {
            return Err(IoError::new(Fault::Pipeline, "a path is empty").hint("write `.` for the pipeline's folder"));
        }
        let (volume, path) = match text.split_once("://") {
            Some((ABSOLUTE, path)) if path.starts_with('/') => (ABSOLUTE, path),
            Some((ABSOLUTE, path)) => {
                return Err(IoError::new(Fault::Pipeline, format!("`{text}` is not an absolute path"))
                    .hint(format!("write `file:///{path}`, or `{path}` for a path in the pipeline's folder")));
            }
            Some((volume, path)) => {
                let mut known: Vec<_> = volumes.map(|name| format!("`{name}`")).collect();
                if !known.iter().any(|name| name.trim_matches('`') == volume) {
                    known.sort_unstable();
                    let hint = match known.is_empty() {
                        true => {
                            format!("name a folder or a server with `[volume.{volume}]` and its `url`")
                        }
                        false => format!("the volumes are {}", known.join(", ")),
                    };
                    return Err(IoError::new(Fault::Pipeline, format!("no volume `{volume}`, in `{text}`")).hint(hint));
                }
                (volume, path)
            }
            None if text.starts_with('/') => (ABSOLUTE, text),
            None => (RELATIVE, text),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match (part, parts.last()) {
                ("" | ".", _) => {}
                ("..", None | Some(&"..")) if volume == RELATIVE => parts.push(".."),
                ("..", None) if volume == ABSOLUTE => {}
                ("..", None) => {
                    return Err(IoError::new(Fault::Pipeline, format!("`{text}` leads out of the volume `{volume}`"))
                        .hint("move the volume's `url` up, or write the path without the volume"));
                }
                ("..", Some(above)) if is_wild(above) => {
                    return Err(IoError::new(Fault::Pipeline, format!("`{text}` has a `..` after a wildcard")));
                }
                ("..", Some(_)) => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        Ok(Self { volume: volume.to_owned(), path: parts.join("/") })
    }

    /// How a user writes it.
    pub(crate) fn uri(&self) -> String {
        uri(&self.volume, &self.path)
    }
}

/// Whether a part of a path has a wildcard.
pub(crate) fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved() {
        for (text, volume, path, uri) in [
            ("docs://book/a.html", "docs", "book/a.html", "docs://book/a.html"),
            ("docs://", "docs", "", "docs://"),
            ("docs://./a//b/../c/", "docs", "a/c", "docs://a/c"),
            ("file:///a/b.txt", "file", "a/b.txt", "file:///a/b.txt"),
            ("/a/../../b", "file", "b", "file:///b"),
            ("data/x 1%20.txt", "", "data/x 1%20.txt", "data/x 1%20.txt"),
            ("../../data/*.txt", "", "../../data/*.txt", "../../data/*.txt"),
            ("a/../../b", "", "../b", "../b"),
            (".", "", "", ""),
        ] {
            let location = Location::parse(text, ["docs"].into_iter()).unwrap();
            assert_eq!((location.volume.as_str(), location.path.as_str()), (volume, path), "{text}");
            assert_eq!(location.uri(), uri);
        }
    }

    #[test]
    fn bad_paths_are_refused_with_a_hint() {
        for (text, message) in [
            ("", "a path is empty\n  hint: write `.` for the pipeline's folder"),
            ("s3://b/x", "no volume `s3`, in `s3://b/x`\n  hint: the volumes are `docs`"),
            (
                "file://a/b",
                "`file://a/b` is not an absolute path\n  hint: write `file:///a/b`, or `a/b` for a path in the pipeline's folder",
            ),
            (
                "docs://a/../../b",
                "`docs://a/../../b` leads out of the volume `docs`\n  hint: move the volume's `url` up, or write the path without the volume",
            ),
            ("a/*/../b", "`a/*/../b` has a `..` after a wildcard"),
        ] {
            let error = Location::parse(text, ["docs"].into_iter()).unwrap_err();
            assert_eq!((error.fault, error.to_string().as_str()), (Fault::Pipeline, message));
        }
    }
}
