//! Which files a glob names.

use std::{fs, io, path::Path};

use dflow_pipeline::Fault;
use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::{
    IoError, Split, Stores,
    location::{Location, is_wild},
};

impl Stores {
    /// The files that a pattern names, sorted by path bytewise. `*`, `?`, `[…]` and `{a,b}` don't cross a `/`, `**` does. A
    /// path without wildcards that is a folder means everything under it. Links are followed. Names that begin with a dot
    /// are left out, with all under them, unless the part of the pattern before its first wildcard spells them.
    ///
    /// On the web these are files of the volume's manifest, or of the listing that its server gives; a single name needs
    /// neither. What a server doesn't say (size, time, etag) is 0 and empty; a file that it refuses is found out on reading.
    /// In a bucket a folder is what keys begin with; where an output's manifest is, what it doesn't name isn't there.
    ///
    /// # Errors
    /// Nothing is there or nothing matches, a folder can't be read, a link leads nowhere or in a circle (fault `Outside`); a
    /// matching name is not UTF-8 (`Data`); the pattern is not a glob or its volume is unknown (`Pipeline`).
    pub async fn list(&self, pattern: &str) -> Result<Vec<Split>, IoError> {
        let whole = self.locate(pattern)?;
        if let Some(web) = self.web(&whole.volume) {
            return web.list(self, pattern, whole).await;
        }
        if let Some(bucket) = self.bucket(&whole.volume) {
            return bucket.list(pattern, whole).await;
        }
        let (stores, pattern) = (self.clone(), pattern.to_owned());
        self.io().spawn_blocking(move || list(&stores, &pattern, whole)).await.map_err(IoError::lost)?
    }
}

fn list(stores: &Stores, pattern: &str, whole: Location) -> Result<Vec<Split>, IoError> {
    // What is there under that very name is meant, even if the name looks like a glob.
    let path = stores.path_of(&whole).unwrap_or_default();
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => return Ok(vec![Split::of_file(whole, &metadata)]),
        Ok(metadata) if metadata.is_dir() => {
            let mut walk = Walk::new(stores, whole, None);
            walk.run()?;
            return walk.found_some(pattern);
        }
        Ok(_) => {
            return Err(IoError::new(Fault::Outside, format!("`{pattern}` is neither a file nor a folder"))
                .hint("pipes and devices have no identity to resume by; copy it to a file"));
        }
        Err(error) if missing(&error) && is_wild(&whole.path) => {}
        Err(error) if missing(&error) => {
            let error = IoError::new(Fault::Outside, format!("no such file `{pattern}`")).because(error);
            return Err(error.hint(describe_folder(stores, whole)));
        }
        Err(error) => return Err(IoError::os_named("look at", pattern, error)),
    }
    let parts: Vec<&str> = whole.path.split('/').collect();
    let fixed = parts.iter().take_while(|part| !is_wild(part)).count();
    let folder = Location { volume: whole.volume.clone(), path: parts[..fixed].join("/") };
    let rest = parts[fixed..].join("/");
    let matching = Matching { matcher: glob(pattern, &rest)?, depth: depth(&rest) };
    let mut walk = Walk::new(stores, folder, Some(matching));
    walk.run()?;
    walk.found_some(pattern)
}

/// What tells the paths that the `rest` of a pattern names.
pub(crate) fn glob(pattern: &str, rest: &str) -> Result<GlobMatcher, IoError> {
    let glob = GlobBuilder::new(rest).literal_separator(true).build().map_err(|error| {
        IoError::new(Fault::Pipeline, format!("`{pattern}` is not a glob: {}", error.kind()))
            .hint("write `[[]`, `[{]`, `[*]` or `[?]` for a character that isn't meant as a wildcard")
    })?;
    Ok(glob.compile_matcher())
}

/// How many folders below its fixed prefix a glob can reach, itself included.
fn depth(glob: &str) -> usize {
    if glob.contains("**") { usize::MAX } else { glob.split('/').count() }
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

struct Matching {
    matcher: GlobMatcher,
    depth: usize,
}

/// A walk over the visible files under a folder.
struct Walk<'a> {
    stores: &'a Stores,
    folder: Location,
    matching: Option<Matching>,
    found: Vec<Split>,
}

impl<'a> Walk<'a> {
    fn new(stores: &'a Stores, folder: Location, matching: Option<Matching>) -> Self {
        Self { stores, folder, matching, found: Vec::new() }
    }

    fn run(&mut self) -> Result<(), IoError> {
        let root = self.stores.path_of(&self.folder).unwrap_or_default();
        let entries = WalkDir::new(&root)
            .follow_links(true)
            .max_depth(self.matching.as_ref().map_or(usize::MAX, |matching| matching.depth))
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b"."));
        for entry in entries {
            let entry = match entry {
                Ok(entry) if entry.file_type().is_file() => entry,
                Ok(_) => continue,
                Err(error) => {
                    self.meet(&root, error)?;
                    continue;
                }
            };
            let below = entry.path().strip_prefix(&root).expect("a walk stays under its root");
            if !self.matches(below) {
                continue;
            }
            let Some(name) = below.to_str() else {
                let message = format!("the name of the file `{}` is not UTF-8", entry.path().display());
                return Err(IoError::new(Fault::Data, message).hint("rename it, or write a glob that leaves it out"));
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.meet(&root, error)?;
                    continue;
                }
            };
            let path = match self.folder.path.as_str() {
                "" => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            self.found.push(Split::of_file(Location { volume: self.folder.volume.clone(), path }, &metadata));
        }
        self.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn matches(&self, below: &Path) -> bool {
        self.matching.as_ref().is_none_or(|matching| matching.matcher.is_match(below))
    }

    /// Meets an error on the way: what vanished meanwhile, and a dead link that isn't asked for, are passed over.
    fn meet(&self, root: &Path, error: walkdir::Error) -> Result<(), IoError> {
        let path = error.path().unwrap_or(root).to_owned();
        if let Some(above) = error.loop_ancestor() {
            let message = format!("the link `{}` leads in a circle, to `{}`", path.display(), above.display());
            return Err(
                IoError::new(Fault::Outside, message).hint("remove it, or write a pattern that doesn't lead there")
            );
        }
        let below = path.strip_prefix(root).unwrap_or(Path::new(""));
        let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it can't be walked"));
        match missing(&error) {
            true if fs::symlink_metadata(&path).is_err() => Ok(()),
            true if self.matches(below) => {
                Err(IoError::new(Fault::Outside, format!("the link `{}` leads to nothing", path.display()))
                    .because(error))
            }
            true => Ok(()),
            false => Err(IoError::os("list", &path, error)),
        }
    }

    fn found_some(self, pattern: &str) -> Result<Vec<Split>, IoError> {
        if !self.found.is_empty() {
            return Ok(self.found);
        }
        let message = match self.matching {
            Some(_) => format!("`{pattern}` matches no file"),
            None => format!("there is no file under `{pattern}`"),
        };
        Err(IoError::new(Fault::Outside, message).hint(describe_folder(self.stores, self.folder)))
    }
}

/// What there is at a place, or at the nearest folder above it, in words.
fn describe_folder(stores: &Stores, place: Location) -> String {
    let mut folder = place.clone();
    while !stores.path_of(&folder).is_some_and(|path| path.is_dir()) {
        match folder.path.rsplit_once('/') {
            Some((above, _)) => folder.path = above.to_owned(),
            None if !folder.path.is_empty() && folder.path != ".." => folder.path.clear(),
            None => break,
        }
    }
    let shown = match folder.uri().as_str() {
        "" => "the pipeline's folder".to_owned(),
        uri => format!("the folder `{uri}`"),
    };
    let path = stores.path_of(&folder).unwrap_or_default();
    if !path.is_dir() {
        return format!("{shown} doesn't exist (`{}`)", path.display());
    }
    let shown = if folder.path == place.path { shown } else { format!("the nearest that exists, {shown},") };
    let mut walk = Walk::new(stores, folder, None);
    match walk.run() {
        Err(_) => format!("{shown} can't be listed"),
        Ok(()) => match walk.found.as_slice() {
            [] => format!("{shown} holds no file"),
            [only] => format!("{shown} holds one file, `{}`", only.uri()),
            [first, rest @ ..] => format!("{shown} holds {} files, such as `{}`", rest.len() + 1, first.uri()),
        },
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::testing::{Ground, block_on};

    fn paths(stores: &Stores, pattern: &str) -> Vec<String> {
        block_on(stores.list(pattern)).map_or_else(|e| panic!("{e}"), |l| l.iter().map(Split::uri).collect())
    }

    #[test]
    fn globs_name_files() {
        let ground = Ground::new();
        for name in [
            "in/a.html",
            "in/b.htm",
            "in/B.html",
            "in/_c.html",
            "in/.hidden.html",
            "in/.git/x.html",
            "in/sub/d.html",
            "in/sub/deep/e.html",
            "in/sub-/f.html",
            "in/[1].txt",
            "in/1.txt",
            ".dot/.g/h.html",
        ] {
            ground.write(name, name);
        }
        let stores = ground.stores(&[("docs", "in")]);
        for (pattern, expected) in [
            ("docs://*.html", "B.html _c.html a.html"),
            ("docs://**/*.html", "B.html _c.html a.html sub-/f.html sub/d.html sub/deep/e.html"),
            ("docs://**", "1.txt B.html [1].txt _c.html a.html b.htm sub-/f.html sub/d.html sub/deep/e.html"),
            ("docs://", "1.txt B.html [1].txt _c.html a.html b.htm sub-/f.html sub/d.html sub/deep/e.html"),
            ("docs://sub", "sub/d.html sub/deep/e.html"),
            ("docs://sub/", "sub/d.html sub/deep/e.html"),
            ("docs://sub*/*", "sub-/f.html sub/d.html"),
            ("docs://sub/**/*.html", "sub/d.html sub/deep/e.html"),
            ("docs://?.html", "B.html a.html"),
            ("docs://[ab].htm*", "a.html b.htm"),
            ("docs://[!a].html", "B.html"),
            ("docs://{a,b}.{html,htm}", "a.html b.htm"),
            ("docs://{a.html,sub/*.html}", "a.html sub/d.html"),
            ("docs://a.html", "a.html"),
            ("docs://.hidden.html", ".hidden.html"),
            ("docs://.git/*", ".git/x.html"),
            ("docs://[1].txt", "[1].txt"),
            ("docs://[[]1].txt", "[1].txt"),
        ] {
            let expected: Vec<_> = expected.split(' ').map(|p| format!("docs://{p}")).collect();
            assert_eq!(paths(&stores, pattern), expected, "{pattern}");
        }
        assert_eq!(paths(&stores, ".dot/.g/**/*.html"), [".dot/.g/h.html"]);
        assert_eq!(paths(&stores, "./in/sub/*/*"), ["in/sub/deep/e.html"]);
        let absolute = ground.path("in/*.htm").display().to_string();
        assert_eq!(paths(&stores, &absolute), [format!("file://{}", ground.path("in/b.htm").display())]);
        assert_eq!(paths(&stores, &format!("file://{absolute}")), paths(&stores, &absolute));
    }

    #[test]
    fn a_split_has_a_version_of_its_content() {
        let ground = Ground::new();
        ground.write("a.txt", "one");
        let stores = ground.stores(&[]);
        let list = || block_on(stores.list("a.txt")).unwrap().remove(0);
        let file = fs::File::options().write(true).open(ground.path("a.txt")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_700_000_000_123_456_789);
        file.set_modified(time).unwrap();
        let first = list();
        assert_eq!((first.size, first.modified, first.etag.as_str()), (3, 1_700_000_000_123, "3-17979cfe3d85cd15"));
        file.set_modified(std::time::UNIX_EPOCH - std::time::Duration::from_micros(1)).unwrap();
        assert_eq!((list().modified, list().etag.as_str()), (-1, "3-fffffffffffffffffffffffffffffc18"));
        let json = serde_json::to_string(&first).unwrap();
        assert_eq!(
            json,
            r#"{"volume":"","path":"a.txt","size":3,"modified":1700000000123,"etag":"3-17979cfe3d85cd15"}"#
        );
        assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), first);
    }

    #[test]
    fn what_is_missing_is_an_error_with_a_hint() {
        let ground = Ground::new();
        ground.write("in/a.txt", "");
        ground.write("in/sub/b.txt", "");
        ground.write("one/x", "");
        fs::create_dir_all(ground.path("empty/.hidden")).unwrap();
        let stores = ground.stores(&[("docs", "in"), ("gone", "not/there")]);
        let gone = ground.path("not/there");
        for (pattern, expected) in [
            (
                "docs://**/*.html",
                "`docs://**/*.html` matches no file\n  hint: the folder `docs://` holds 2 files, such as `docs://a.txt`".into(),
            ),
            (
                "docs://sub/*.html",
                "`docs://sub/*.html` matches no file\n  hint: the folder `docs://sub` holds one file, `docs://sub/b.txt`".into(),
            ),
            (
                "docs://nope/x/*.html",
                "`docs://nope/x/*.html` matches no file\n  hint: the nearest that exists, the folder `docs://`, holds 2 files, such as `docs://a.txt`".to_owned(),
            ),
            ("docs://x.txt", "no such file `docs://x.txt`\n  hint: the nearest that exists, the folder `docs://`, holds 2 files, such as `docs://a.txt`".into()),
            ("one/x/y.txt", "no such file `one/x/y.txt`\n  hint: the nearest that exists, the folder `one`, holds one file, `one/x`".into()),
            ("empty", "there is no file under `empty`\n  hint: the folder `empty` holds no file".into()),
            ("empty/*", "`empty/*` matches no file\n  hint: the folder `empty` holds no file".into()),
            ("gone://*", format!("`gone://*` matches no file\n  hint: the folder `gone://` doesn't exist (`{}`)", gone.display())),
        ] {
            let error = block_on(stores.list(pattern)).unwrap_err();
            assert_eq!((error.fault, error.to_string()), (Fault::Outside, expected), "{pattern}");
        }
        let error = block_on(stores.list("docs://[a")).unwrap_err();
        assert_eq!(error.fault, Fault::Pipeline);
        assert!(error.message.starts_with("`docs://[a` is not a glob: "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_bad_names_are_errors() {
        use std::os::unix::{ffi::OsStrExt, fs::symlink};
        let ground = Ground::new();
        ground.write("in/a.txt", "a");
        ground.write("far/b.txt", "b");
        symlink(ground.path("far"), ground.path("in/linked")).unwrap();
        symlink(ground.path("nowhere"), ground.path("in/dead.txt")).unwrap();
        let stores = ground.stores(&[]);
        assert_eq!(paths(&stores, "in/**/[ab].txt"), ["in/a.txt", "in/linked/b.txt"]);
        let error = block_on(stores.list("in/*.txt")).unwrap_err();
        assert_eq!(error.to_string(), format!("the link `{}` leads to nothing", ground.path("in/dead.txt").display()));
        fs::remove_file(ground.path("in/dead.txt")).unwrap();
        symlink(ground.path("in"), ground.path("in/round")).unwrap();
        assert!(block_on(stores.list("in/**")).unwrap_err().message.contains("leads in a circle"));
        fs::remove_file(ground.path("in/round")).unwrap();
        ground.write("in/x", "");
        fs::rename(ground.path("in/x"), ground.path("in").join(std::ffi::OsStr::from_bytes(b"\xff.txt"))).unwrap();
        let error = block_on(stores.list("in/*.txt")).unwrap_err();
        assert_eq!(error.fault, Fault::Data, "{error}");
        assert_eq!(paths(&stores, "in/a*"), ["in/a.txt"]);
    }
}
