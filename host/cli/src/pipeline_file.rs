//! The pipeline's file, read.

use std::{fs, io::ErrorKind};

use dflow_pipeline::{Draft, written};

use crate::{failure::Failure, outside::Outside, settings::PipelineSettings};

impl PipelineSettings {
    /// Reads the pipeline, mistakes and all: planning adds those that it finds.
    ///
    /// # Errors
    /// There is no such file, or it isn't text.
    pub(crate) fn read(&self, outside: &Outside) -> Result<Draft, Failure> {
        let name = self.file.display().to_string();
        let whole = outside.folder.join(&self.file);
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
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            Failure::pipeline(format!("the pipeline file `{name}` is not UTF-8 text (line {line})"))
                .hint("a pipeline file is TOML; save it as UTF-8")
        })?;
        Ok(written::read(&name, &text, &self.overrides, &|key| (outside.env)(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::tests::outside;

    fn refused(file: &str, folder: &std::path::Path) -> (String, u8) {
        let outside = Outside { folder: folder.to_owned(), ..outside(&[]) };
        let settings = PipelineSettings { file: file.into(), folder: folder.to_owned(), overrides: Vec::new() };
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
}
