//! The pipeline's file and the `dflow.toml` above it, read.

use std::{
    fs,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use dflow_pipeline::{
    Draft,
    written::{self, FlowFile, SharedFile, Surroundings},
};

use crate::{failure::Failure, outside::Outside, settings::PipelineSettings};

/// The file that pipelines share.
const SHARED: &str = "dflow.toml";

impl PipelineSettings {
    /// Reads the pipeline, mistakes and all: planning adds those that it finds.
    ///
    /// # Errors
    /// There is no such file, or it isn't text; or so is the `dflow.toml` above it.
    pub(crate) fn read(&self, outside: &Outside) -> Result<Draft, Failure> {
        let name = self.file.display().to_string();
        let whole = outside.folder.join(&self.file);
        if whole.file_name().is_some_and(|name| name == SHARED) {
            return Err(Failure::pipeline(format!("`{name}` is what pipelines share, not a pipeline file"))
                .hint("name one of the pipelines in its folder or below it"));
        }
        let bytes = fs::read(&whole).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Failure::pipeline(format!("there is no pipeline file `{name}`"))
                    .hint("name one (`dflow-host run FILE`), or go to the folder of a `pipeline.toml`")
            }
            // Not every system has a kind for it.
            _ if whole.is_dir() => {
                let failure = Failure::pipeline(format!("`{name}` is a folder, not a pipeline file"));
                match whole.join("pipeline.toml").is_file() {
                    true => failure.hint(format!("did you mean `{}`?", self.file.join("pipeline.toml").display())),
                    false => failure,
                }
            }
            _ => Failure::pipeline(format!("can't read the pipeline file `{name}`: {error}")),
        })?;
        let text = text(bytes, "the pipeline file", &name)?;
        let found = Shared::find(&self.folder, &outside.folder)?;
        let shared =
            found.as_ref().map(|found| SharedFile { name: &found.name, folder: &found.folder, text: &found.text });
        let env = |key: &str| (outside.env)(key);
        let file = |path: &str| self.flow(path, outside);
        let target = self.target.as_deref();
        let surroundings = Surroundings { overrides: &self.overrides, env: &env, shared, target, file: &file };
        Ok(written::read_within(&name, &text, &surroundings))
    }

    /// A file that the pipeline uses as a flow, by its path from the pipeline's folder.
    fn flow(&self, path: &str, outside: &Outside) -> Result<FlowFile, String> {
        let seen = tidy(&self.file.parent().unwrap_or(Path::new("")).join(path));
        let name = seen.display().to_string();
        let whole = outside.folder.join(&seen);
        let unreadable = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => format!("there is no pipeline file `{name}`"),
            _ if whole.is_dir() => format!("`{name}` is a folder, not a pipeline file"),
            _ => format!("can't read the pipeline file `{name}`: {error}"),
        };
        let real = whole.canonicalize().map_err(unreadable)?;
        let bytes = fs::read(&real).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("the pipeline file `{name}` is not UTF-8 text"))?;
        Ok(FlowFile { name, real, text })
    }
}

/// A path without a folder that it leaves at once.
fn tidy(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut tidy, part| {
        match (part, tidy.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => drop(tidy.pop()),
            (Component::CurDir, _) => {}
            _ => tidy.push(part),
        }
        tidy
    })
}

/// The nearest `dflow.toml`.
struct Shared {
    /// Its path, as short as it can be told from the folder in which the command was typed.
    name: String,
    /// Its folder, as seen from the pipeline's.
    folder: String,
    text: String,
}

impl Shared {
    /// Finds and reads the one in the pipeline's folder, or in the nearest one above it. `here` is where the command was typed.
    fn find(folder: &Path, here: &Path) -> Result<Option<Self>, Failure> {
        // The real folder, as `..` in a path leads to the one above that.
        let Ok(folder) = folder.canonicalize() else { return Ok(None) };
        for (up, above) in folder.ancestors().enumerate() {
            let path = above.join(SHARED);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                // Not every system has a kind for it.
                Err(_) if path.is_dir() => continue,
                Err(error) => {
                    return Err(Failure::outside(format!("can't read `{}`: {error}", path.display()))
                        .hint("pipelines under its folder share it; make it readable, or move it away"));
                }
            };
            let name = seen_from(&path, &here.canonicalize().unwrap_or_else(|_| here.to_owned())).display().to_string();
            let text = text(bytes, "the file", &name)?;
            return Ok(Some(Self { name, folder: vec![".."; up].join("/"), text }));
        }
        Ok(None)
    }
}

/// A file's path from a folder that is beside, below or above it; else as it is.
fn seen_from(path: &Path, here: &Path) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    match (path.strip_prefix(here), here.strip_prefix(folder)) {
        (Ok(below), _) => below.to_owned(),
        (_, Ok(down)) => down.iter().map(|_| "..").collect::<PathBuf>().join(name),
        _ => path.to_owned(),
    }
}

fn text(bytes: Vec<u8>, what: &str, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Failure::pipeline(format!("{what} `{name}` is not UTF-8 text (line {line})"))
            .hint("it is TOML; save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::tests::outside;

    fn refused(file: &str, folder: &std::path::Path) -> (String, u8) {
        let outside = Outside { folder: folder.to_owned(), ..outside(&[]) };
        let settings =
            PipelineSettings { file: file.into(), folder: folder.to_owned(), overrides: Vec::new(), target: None };
        let whole = settings.read(&outside).and_then(|draft| Ok(draft.whole()?));
        let failure = whole.expect_err("it can't be read");
        (failure.shown(false, None), failure.exit_code())
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir_all(path.join("job")).expect("a folder");
        fs::create_dir_all(path.join("empty")).expect("a folder");
        fs::write(path.join("job/pipeline.toml"), "").expect("a file");
        fs::write(path.join("latin.toml"), b"name = \"x\"\n# gr\xfc\xdfe\n").expect("a file");
        for (file, message) in [
            ("none.toml", "error: there is no pipeline file `none.toml`\nhint: "),
            ("job/pipeline.toml/x", "error: there is no pipeline file `job/pipeline.toml/x`\nhint: "),
            ("job/dflow.toml", "error: `job/dflow.toml` is what pipelines share, not a pipeline file\nhint: "),
            ("job", "error: `job` is a folder, not a pipeline file\nhint: did you mean `job/pipeline.toml`?"),
            ("empty", "error: `empty` is a folder, not a pipeline file\n"),
            ("latin.toml", "error: the pipeline file `latin.toml` is not UTF-8 text (line 2)\nhint: "),
            ("job/pipeline.toml", "  × the pipeline has no stage"),
        ] {
            let (shown, code) = refused(file, path);
            assert!(shown.starts_with(message), "{file}: {shown}");
            assert_eq!(code, 3, "{file}");
        }
    }

    #[test]
    fn what_pipelines_share_is_found_above_them() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("it is there");
        let deep = root.join("a/b/c");
        fs::create_dir_all(&deep).expect("a folder");
        // A folder of that name is none.
        fs::create_dir_all(root.join("a/b/dflow.toml")).expect("a folder");
        fs::write(root.join("a/dflow.toml"), "").expect("a file");
        for (folder, here, name, from) in [
            (&deep, &deep, "../../dflow.toml", "../.."),
            (&deep, &root, "a/dflow.toml", "../.."),
            (&root.join("a"), &root.join("a"), "dflow.toml", ""),
        ] {
            let found = Shared::find(folder, here).expect("it can be read").expect("it is there");
            assert_eq!((found.name.as_str(), found.folder.as_str()), (name, from));
        }
        let beside = root.join("x");
        let found = Shared::find(&deep, &beside).expect("it can be read").expect("it is there");
        assert_eq!(Path::new(&found.name), root.join("a/dflow.toml"));
    }
}
