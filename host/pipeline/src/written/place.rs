//! Places of files: volumes' URLs, and the paths that `read` and `write` name.

use super::words::LATER_SCHEMES;
use crate::{
    At, Mistake,
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

/// Whether a volume's `url` is on the web.
pub(super) fn is_web(url: &str) -> bool {
    matches!(scheme(url), Some(("http" | "https", _)))
}

/// Whether a volume's `url` is a bucket.
pub(super) fn is_bucket(url: &str) -> bool {
    matches!(scheme(url), Some(("s3", _)))
}

/// Reads a volume's `url`: `file://` and an absolute path, a plain path, `http://` and `https://`, or `s3://`.
pub(super) fn volume_url(node: &Node, found: &mut Vec<Mistake>) -> Option<String> {
    let Filled(url) = FromNode::from_node(node, found)?;
    let mistake = match scheme(&url) {
        None => None,
        Some(("file", rest)) => relative_file(node, rest),
        Some(("http" | "https", rest)) => web_address(node, rest),
        Some(("s3", rest)) => bucket(node, rest),
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
        Some((scheme @ ("http" | "https"), _)) => Some(
            Mistake::new(node.at.clone(), format!("`{scheme}://` is read by way of a volume"))
                .hint(format!("add `[volume.site]` with `url = \"{scheme}://…\"`, and read `site://…`")),
        ),
        Some(("s3", _)) => Some(
            Mistake::new(node.at.clone(), "`s3://` is reached by way of a volume")
                .hint("add `[volume.lake]` with `url = \"s3://bucket/path\"`, and write `lake://…`"),
        ),
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

/// What is wrong with the address of a server. What may be secret in it isn't shown: the mistake is at the volume's name.
fn web_address(node: &Node, rest: &str) -> Option<Mistake> {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let above = || At::new(node.at.parts().iter().take(node.at.parts().len().saturating_sub(1)));
    if host.contains('@') {
        return Some(
            Mistake::new(
                above(),
                "the `url` of this volume has a name or a password in it, which would show in places",
            )
            .hint("this version reads what anybody may read"),
        );
    }
    if rest.contains(['?', '#']) {
        return Some(
            Mistake::new(above(), "the `url` of this volume has a query or a fragment")
                .hint("write it up to the `?`: paths are put behind it"),
        );
    }
    host.is_empty()
        .then(|| Mistake::new(node.at.clone(), "this `url` names no server").hint("write it as `https://host/path`"))
}

/// What is wrong with a bucket's name.
fn bucket(node: &Node, rest: &str) -> Option<Mistake> {
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let hint = "write it as `s3://bucket/path`";
    if name.is_empty() {
        return Some(Mistake::new(node.at.clone(), "this `url` names no bucket").hint(hint));
    }
    if !name.chars().all(good) {
        let what = format!("`{name}` is no name of a bucket");
        return Some(Mistake::new(node.at.clone(), what).hint("its letters are `a-z`, `0-9`, `.` and `-`"));
    }
    let odd = path.trim_end_matches('/').split('/').any(|part| matches!(part, "" | "." | ".."));
    (odd && !path.trim_end_matches('/').is_empty())
        .then(|| Mistake::new(node.at.clone(), format!("`{path}` has an empty part, a `.` or a `..` in it")).hint(hint))
}

fn other_scheme(node: &Node, scheme: &str, what: &str) -> Mistake {
    if LATER_SCHEMES.contains(&scheme) {
        Mistake::later(node.at.clone(), format!("{what} `{scheme}://`"))
    } else {
        Mistake::new(node.at.clone(), format!("unknown scheme `{scheme}://` in {}", node.subject())).hint(match what {
            "a volume on" => "this version knows `file://`, `http://`, `https://`, `s3://` and plain paths",
            _ => "this version knows `file://` and plain paths",
        })
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
