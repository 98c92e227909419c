//! Places of files: volumes' URLs, and the paths that `read` and `write` name.

use super::words::LATER_SCHEMES;
use crate::{
    Mistake,
    mistake::nearest_or_list,
    node::Node,
    value::{Filled, FromNode},
};

/// The scheme and the rest of a URL; `None` for a plain path.
fn scheme(path: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = path.split_once("://")?;
    scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.')).then_some((scheme, rest))
}

/// The volume that a path names, if it names one.
pub(super) fn volume(path: &str) -> Option<&str> {
    scheme(path).map(|(volume, _)| volume)
}

/// Reads a volume's `url`: `file://` and an absolute path, or a plain path.
pub(super) fn volume_url(node: &Node, found: &mut Vec<Mistake>) -> Option<String> {
    let Filled(url) = FromNode::from_node(node, found)?;
    let mistake = match scheme(&url) {
        None => None,
        Some(("file", rest)) => relative_file(node, rest),
        Some((other, _)) => Some(other_scheme(node, other, "a volume on")),
    };
    noted(url, mistake, found)
}

/// Reads a plugin's `source`: a plain path, or `file://` and an absolute one.
pub(super) fn plugin_source(node: &Node, found: &mut Vec<Mistake>) -> Option<String> {
    let Filled(source) = FromNode::from_node(node, found)?;
    let mistake = match scheme(&source) {
        None => None,
        Some(("file", rest)) => relative_file(node, rest),
        Some((other, _)) => Some(other_scheme(node, other, "a plugin from")),
    };
    noted(source, mistake, found)
}

/// Reads a path of `read` or `write`: `volume://path`, `file:///path` or a plain path.
pub(super) fn path(node: &Node, volumes: &[&str], found: &mut Vec<Mistake>) -> Option<String> {
    let Filled(path) = FromNode::from_node(node, found)?;
    let mistake = match scheme(&path) {
        None => None,
        Some(("file", rest)) => relative_file(node, rest),
        Some((volume, _)) if volumes.contains(&volume) => None,
        Some((other, _)) if LATER_SCHEMES.contains(&other) => Some(other_scheme(node, other, "a file on")),
        Some((volume, _)) => {
            let mistake = Mistake::new(node.at.clone(), format!("unknown volume `{volume}` in `{path}`"));
            Some(mistake.hint(if volumes.is_empty() {
                format!("add `[volume.{volume}]` with its `url`")
            } else {
                nearest_or_list("volume", volume, volumes)
            }))
        }
    };
    noted(path, mistake, found)
}

fn relative_file(node: &Node, rest: &str) -> Option<Mistake> {
    (!rest.starts_with('/')).then(|| {
        Mistake::new(node.at.clone(), format!("`file://{rest}` is not an absolute path")).hint(match rest {
            "" => "write `file:///…` with a path".to_owned(),
            _ => format!("write `file:///…`, or `{rest}` alone for a path from the pipeline's folder"),
        })
    })
}

fn other_scheme(node: &Node, scheme: &str, what: &str) -> Mistake {
    if LATER_SCHEMES.contains(&scheme) {
        Mistake::later(node.at.clone(), format!("{what} `{scheme}://`"))
    } else {
        Mistake::new(node.at.clone(), format!("unknown scheme `{scheme}://` in {}", node.subject()))
            .hint("this version knows `file://` and plain paths")
    }
}

fn noted<T>(value: T, mistake: Option<Mistake>, found: &mut Vec<Mistake>) -> Option<T> {
    let good = mistake.is_none();
    found.extend(mistake);
    good.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_a_word_before_a_colon_and_two_slashes() {
        for (path, expected) in [
            ("docs://a/*.html", Some(("docs", "a/*.html"))),
            ("file:///a", Some(("file", "/a"))),
            ("a/b.html", None),
            ("odd name/x://y", None),
        ] {
            assert_eq!(scheme(path), expected, "{path}");
        }
    }
}
