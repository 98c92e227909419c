//! Names of files that are made from rows: where in a sink's path the template begins.

use crate::{At, Mistake};

/// The path of a sink whose files are named by their rows, cut into the folder that holds them all and what is below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNames {
    /// The folder, without a template in it: up to and with the last `/` before the first `{{` or `{%`. Empty when there is none.
    pub folder: String,
    /// The template of the names below it.
    pub template: String,
    /// A glob that these names match.
    pub glob: String,
}

impl FileNames {
    /// Whether a path is named by rows.
    pub fn are_in(path: &str) -> bool {
        path.contains("{{") || path.contains("{%")
    }

    /// Cuts a path; `None` when no template is in it.
    ///
    /// # Errors
    /// A template that isn't closed, that climbs out with `..`, or whose names would be hidden or folders: the mistake, at `at`.
    pub fn cut(path: &str, at: &At) -> Result<Option<Self>, Mistake> {
        let wrong = |message: String, hint: &str| Err(Mistake::new(at.clone(), message).hint(hint));
        let Some(first) = path.find("{{").into_iter().chain(path.find("{%")).min() else { return Ok(None) };
        let below = path[..first].rfind('/').map_or(0, |slash| slash + 1);
        let (folder, template) = path.split_at(below);
        let Some(glob) = glob(template) else {
            return wrong(format!("a template in `{path}` isn't closed"), "`{{` is closed by `}}`, `{%` by `%}`");
        };
        for part in glob.split('/') {
            match part {
                ".." => {
                    return wrong(
                        format!("the names that `{path}` makes climb out of `{folder}` with `..`"),
                        "write the folder before the first `{{`",
                    );
                }
                "" | "." => {
                    return wrong(
                        format!("`{path}` names a folder for each row, not a file"),
                        "end it with the file's name, such as `{{ __id__ }}.html`",
                    );
                }
                hidden if hidden.starts_with('.') => {
                    return wrong(
                        format!("the names that `{path}` makes begin with a dot, and would be hidden"),
                        "take the dot away",
                    );
                }
                _ => {}
            }
        }
        Ok(Some(Self { folder: folder.to_owned(), template: template.to_owned(), glob }))
    }

    /// As [`cut`](Self::cut), of a path that was checked.
    pub fn of(path: &str) -> Option<Self> {
        Self::cut(path, &At::default()).ok().flatten()
    }
}

/// A glob of what a template makes: what it puts in is anything but a `/`. `None` when a template isn't closed.
fn glob(template: &str) -> Option<String> {
    let mut glob = String::new();
    let mut rest = template;
    while let Some(start) = rest.find(['{', '*', '?', '[', ']', '}']) {
        glob.push_str(&rest[..start]);
        rest = &rest[start..];
        let close = match rest.get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            Some("{#") => "#}",
            _ => {
                glob.extend(['[', rest.chars().next()?, ']']);
                rest = &rest[1..];
                continue;
            }
        };
        rest = &rest[rest.find(close)? + close.len()..];
        if !glob.ends_with('*') {
            glob.push('*');
        }
    }
    glob.push_str(rest);
    Some(glob)
}

/// What is wrong with a name that a row made: a phrase for behind the name. `None` when nothing is.
pub fn refuse_name(name: &str) -> Option<String> {
    const MOST: usize = 255;
    let parts = || name.split('/');
    if parts().any(str::is_empty) {
        return Some("has an empty part".to_owned());
    }
    if parts().any(|part| part.starts_with('.')) {
        return Some("has a part that begins with a dot, and would be hidden".to_owned());
    }
    let longest = parts().map(str::len).max().unwrap_or_default();
    (longest > MOST).then(|| format!("has a part of {longest} bytes, more than the {MOST} that file systems take"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_what_comes_before_the_template() {
        for (path, folder, glob) in [
            ("lake://documents/{{ __id__ }}.html", "lake://documents/", "*.html"),
            ("{{ a }}", "", "*"),
            ("../out/x-{{ a | default(\"/\") }}{{ b }}/y[1].txt", "../out/", "x-*/y[[]1[]].txt"),
            ("out/{% if a %}{{ a }}{% endif %}.md", "out/", "*.md"),
        ] {
            let names = FileNames::of(path).expect("it is right");
            assert_eq!((names.folder.as_str(), names.glob.as_str()), (folder, glob), "{path}");
            assert_eq!(names.folder.clone() + &names.template, path);
        }
        assert_eq!(FileNames::cut("out/a.html", &At::default()), Ok(None));
        for path in ["out/{{ a", "out/{{ a }}/../../b", "out/{{ a }}/", "out/.{{ a }}", "{{ a }}/./b"] {
            assert!(FileNames::cut(path, &At::default()).is_err(), "{path}");
        }
    }

    #[test]
    fn names_that_rows_made() {
        assert_eq!(refuse_name("a/b.html"), None);
        for name in ["", "a//b", ".html", "a/..", &"x".repeat(256)] {
            assert!(refuse_name(name).is_some(), "{name}");
        }
    }
}
