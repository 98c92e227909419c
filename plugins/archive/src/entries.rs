//! The operator `entries`: one row for each entry of an archive.

use std::io::{self, Read, Seek};

use dflow_plugin::arrow::{RecordBatch, Schema};
use dflow_plugin::{Description, Emitter, Failure, Opened, Operator, Port, Shape, blobs};

use crate::batch::{Batch, Content, Entry, Kind, opened};
use crate::format::{Format, Stored, Unpacked};
use crate::size::Size;
use crate::{tarball, zipped};

/// What a row's content may have at most, whatever the settings say: what guests may hold has to do for it several times.
const MOST: Size = Size(32 << 20);

/// Settings of `archive/entries`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Only entries whose paths match one of these globs: `**/*.txt`. All unless given.
    #[serde(rename = "match")]
    pub matching: Vec<String>,
    /// The largest content: that of a larger entry is null, and `left_out` says so. At most `32MiB`.
    pub max_entry: Size,
    /// Whether contents are read.
    pub content: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { matching: Vec::new(), max_entry: Size(16 << 20), content: true }
    }
}

/// Lists what archives hold.
pub struct Entries {
    settings: Settings,
}

/// Why an archive's entries can't be listed to the end.
pub(crate) enum Broken {
    /// What is wrong with it, by kind.
    Archive(&'static str, String),
    /// The operator.
    Operator(Failure),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Operator(failure)
    }
}

/// An archive that is no archive of its kind, or can't be read.
pub(crate) fn broken(doing: &str, error: &io::Error) -> Broken {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    Broken::Archive("broken-archive", format!("{doing}: {why}"))
}

impl Settings {
    /// Whether an entry is asked for.
    pub(crate) fn wants(&self, path: &str) -> bool {
        self.matching.is_empty() || self.matching.iter().any(|glob| fast_glob::glob_match(glob, path))
    }

    /// The content of an entry, if it is to be read, from a reader that is only made then.
    pub(crate) fn content(
        &self,
        entry: &Entry,
        open: impl FnOnce(&mut dyn FnMut(&mut dyn Read) -> io::Result<Content>) -> io::Result<Content>,
    ) -> io::Result<Content> {
        if !self.content || entry.kind != Kind::File {
            return Ok(Content::None);
        }
        let most = self.max_entry;
        let too_large = |size: &str| Content::LeftOut(format!("it has {size}, `max_entry` is {most}"));
        if entry.size > most.0 {
            return Ok(too_large(&format!("{} bytes", entry.size)));
        }
        open(&mut |reader| {
            let mut bytes = Vec::with_capacity(entry.size as usize);
            // What is said about its size needn't be true.
            reader.take(most.0 + 1).read_to_end(&mut bytes)?;
            Ok(if bytes.len() as u64 > most.0 { too_large("more than it says") } else { Content::Bytes(bytes) })
        })
    }
}

impl Operator for Entries {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new("entries", Shape::Expand)
            .version("0.1.0")
            .summary("one row for each entry of an archive: tar, also compressed by gzip or zstd, and zip")
            .port(Port::file("content", "the archive"))
            .rejects_rows()
            .wants("blobs")
            .streaming()
    }

    fn open(settings: Settings, _input: &Schema) -> Result<(Self, Opened), Failure> {
        if settings.max_entry > MOST {
            let (size, most) = (settings.max_entry, MOST);
            return Err(Failure::settings(format!("setting `max_entry` is {size}, it must be at most {most}")));
        }
        Ok((Self { settings }, opened()))
    }

    fn process(&mut self, input: &RecordBatch, emit: &mut Emitter<'_>) -> Result<(), Failure> {
        let files = blobs::files(input, 0)?;
        for row in 0..files.len() {
            let Some(file) = files.open(row) else { continue };
            let mut batch = Batch::new(emit, row);
            let listed = self.list(file, &mut batch).and_then(|()| Ok(batch.flush()?));
            match listed {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Broken::Archive(kind, why)) => emit.error(row, kind, why),
                Err(Broken::Operator(failure)) => return Err(failure),
            }
        }
        Ok(())
    }
}

impl Entries {
    /// Gives the entries of an archive of whatever kind.
    fn list(&self, mut file: blobs::File, batch: &mut Batch<'_, '_>) -> Result<(), Broken> {
        if file.size() == 0 {
            return Err(Broken::Archive("no-archive", "it is empty, and no archive".to_owned()));
        }
        let unread = |e: io::Error| broken("the archive can't be read", &e);
        let format = Format::of(&mut file).map_err(unread)?;
        file.rewind().map_err(unread)?;
        match format {
            Format::Zip => zipped::list(file, &self.settings, batch),
            Format::Tar => tarball::list_stored(Stored::new(file), &self.settings, batch),
            Format::Compressed(codec) => {
                let mut content = Unpacked::new(codec, file);
                let inner =
                    Format::of(&mut content).map_err(|e| broken(&format!("it can't be unpacked as {codec}"), &e))?;
                match inner {
                    Format::Tar => tarball::list_packed(content.again(), &self.settings, batch),
                    _ => Err(Broken::Archive(
                        "no-archive",
                        format!("it is compressed by {codec}, and holds no tar archive"),
                    )),
                }
            }
            Format::Other(what) => Err(Broken::Archive("no-archive", what.to_owned())),
        }
    }
}
