//! A pack: what is saved of stages, in one file for handing over. A tar, compressed with Zstandard: `manifest.json` first, which names and
//! describes all, then the files by number.
//!
//! Whoever reads one trusts nothing in it: no path of it is used, and each file must be as the manifest describes it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use dflow_operators::StepError;
use dflow_pipeline::{Fault, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    Cancel,
    fingerprint::hexadecimal,
    journal::{PackedFile, PackedPrint, PackedTask},
};

/// The first thing that a manifest says.
const FORMAT: &str = "dflow-pack";
/// The version of packs that this host writes and reads.
const VERSION: u32 = 1;
/// The name of the manifest.
const MANIFEST: &str = "manifest.json";
/// A manifest has at most so many bytes.
const LARGEST: u64 = 1 << 30;
/// Rows are compressed in their files already.
const LEVEL: i32 = 1;
/// The bytes that are copied before somebody asks whether it is to go on.
const PIECE: usize = 1 << 20;

/// What a pack holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    /// The version of dflow-host that wrote it.
    pub(crate) host: String,
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// The stages, each after those that it reads.
    pub(crate) stages: Vec<PackedStage>,
    /// What their fingerprints are of.
    pub(crate) prints: Vec<PackedPrint>,
}

/// A saved stage in a pack.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackedStage {
    pub(crate) stage: Name,
    /// Of its segment.
    pub(crate) fingerprint: String,
    /// The parameters with which it was made.
    pub(crate) parameters: Map<String, Value>,
    pub(crate) tasks: Vec<PackedTask>,
}

/// What is looked at before all else of a manifest.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl PackedStage {
    /// Its files, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PackedFile> {
        self.tasks.iter().flat_map(|task| &task.files)
    }
}

impl Manifest {
    pub(crate) fn new(pipeline: &str, stages: Vec<PackedStage>, prints: Vec<PackedPrint>) -> Self {
        let host = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT.to_owned(), version: VERSION, host, pipeline: pipeline.to_owned(), stages, prints }
    }

    /// All files, in the order in which they are packed.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PackedFile> {
        self.stages.iter().flat_map(PackedStage::files)
    }

    /// Writes the pack, beside its place first, so that it is there as a whole or not at all.
    ///
    /// # Errors
    /// A file can't be read, the pack can't be written, or the user ended it.
    pub(crate) fn write(&self, out: &Path, cancel: &Cancel) -> Result<u64, StepError> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let temporary = out.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let written = self.write_to(&temporary, cancel).map_err(|e| match cancel.is_raised() {
            true => interrupted(),
            false => StepError::new(Fault::Outside, format!("can't write the pack `{}`: {e}", out.display()))
                .hint("nothing is left of it; make room or name another place, and export again"),
        });
        let placed = written.and_then(|bytes| match fs::rename(&temporary, out) {
            Ok(()) => Ok(bytes),
            Err(e) => Err(StepError::new(Fault::Outside, format!("can't write the pack `{}`: {e}", out.display()))),
        });
        if placed.is_err() {
            drop(fs::remove_file(&temporary));
        }
        placed
    }

    fn write_to(&self, path: &Path, cancel: &Cancel) -> io::Result<u64> {
        let encoder = zstd::Encoder::new(BufWriter::new(File::create(path)?), LEVEL)?;
        let mut tar = tar::Builder::new(encoder);
        let text = serde_json::to_vec(self)?;
        append(&mut tar, MANIFEST, text.len() as u64, &*text)?;
        for (number, file) in self.files().enumerate() {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("`{}`: {e}", file.path.display()));
            let open = BufReader::new(File::open(&file.path).map_err(named)?);
            append(&mut tar, &number.to_string(), file.bytes, Watched { read: open, cancel }).map_err(named)?;
        }
        let file = tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content.take(bytes))
}

/// What is read until the user ends it.
struct Watched<'a, R> {
    read: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_raised() {
            return Err(io::Error::other("interrupted"));
        }
        self.read.read(into)
    }
}

fn interrupted() -> StepError {
    StepError::new(Fault::Outside, "interrupted")
}

/// The digest of a file.
pub(crate) fn digest_of(path: &Path, cancel: &Cancel) -> Result<String, StepError> {
    let failed = |e: io::Error| StepError::new(Fault::Outside, format!("can't read `{}`: {e}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        if cancel.is_raised() {
            return Err(interrupted());
        }
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(&piece[..read]),
        }
    }
}

type Tar = tar::Archive<zstd::Decoder<'static, BufReader<File>>>;

fn opened(pack: &Path) -> Result<Tar, StepError> {
    let shown = pack.display();
    let file =
        File::open(pack).map_err(|e| StepError::new(Fault::Outside, format!("can't read the pack `{shown}`: {e}")))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(none(pack, "it is a folder"));
    }
    Ok(tar::Archive::new(zstd::Decoder::new(file).map_err(|e| none(pack, &e.to_string()))?))
}

fn none(pack: &Path, why: &str) -> StepError {
    StepError::new(Fault::Outside, format!("`{}` is no pack: {why}", pack.display()))
        .hint("`dflow-host export --out PACK` writes packs")
}

fn damaged(pack: &Path, why: &str) -> StepError {
    StepError::new(Fault::Outside, format!("the pack `{}` is damaged: {why}", pack.display()))
        .hint("nothing of it was taken in; get it again from where it comes from")
}

/// Whether a file begins as one that is compressed with Zstandard.
fn begins_as_one(pack: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(pack).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == [0x28, 0xb5, 0x2f, 0xfd]
}

/// What a pack says that it holds.
///
/// # Errors
/// It is none, or damaged, or of another version.
pub(crate) fn manifest_of(pack: &Path) -> Result<Manifest, StepError> {
    let mut tar = opened(pack)?;
    let mut entries = tar.entries().map_err(|e| none(pack, &e.to_string()))?;
    manifest(pack, entries.next())
}

fn manifest(pack: &Path, first: Option<io::Result<tar::Entry<'_, impl Read>>>) -> Result<Manifest, StepError> {
    let first = first.ok_or_else(|| none(pack, "it is empty"))?;
    let mut first = first.map_err(|e| match begins_as_one(pack) {
        true => damaged(pack, &e.to_string()),
        false => none(pack, &e.to_string()),
    })?;
    if first.path_bytes().as_ref() != MANIFEST.as_bytes() {
        return Err(none(pack, &format!("it doesn't begin with `{MANIFEST}`")));
    }
    if first.size() > LARGEST {
        return Err(damaged(pack, "its manifest is too large"));
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text).map_err(|e| damaged(pack, &e.to_string()))?;
    let unreadable = |e: serde_json::Error| damaged(pack, &format!("its manifest: {e}"));
    let head: Head = serde_json::from_slice(&text).map_err(unreadable)?;
    if head.format != FORMAT {
        return Err(none(pack, &format!("its manifest says `{}`", head.format)));
    }
    if head.version != VERSION {
        let shown = pack.display();
        let what = format!(
            "the pack `{shown}` was written by a newer dflow-host (its version is {}, this one knows {VERSION})",
            head.version
        );
        return Err(StepError::new(Fault::Outside, what)
            .hint("take it in with such a dflow-host, or have it exported by one like this"));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(unreadable)?;
    sound(&manifest).map_err(|why| damaged(pack, &why))?;
    Ok(manifest)
}

/// Reads a pack: its manifest, and its files into a folder, by number.
///
/// # Errors
/// It is none, or damaged, or of a newer version; the folder can't be written to.
pub(crate) fn unpack(
    pack: &Path,
    look: &mut dyn FnMut(&Manifest) -> Result<(), StepError>,
    folder: &Path,
    cancel: &Cancel,
) -> Result<Manifest, StepError> {
    let mut tar = opened(pack)?;
    let mut entries = tar.entries().map_err(|e| none(pack, &e.to_string()))?;
    let manifest = manifest(pack, entries.next())?;
    look(&manifest)?;
    let damaged = |why: String| damaged(pack, &why);
    for (number, file) in manifest.files().enumerate() {
        let what = format!("file {number} (`{}`)", file.name);
        let entry = entries.next().ok_or_else(|| damaged(format!("{what} is missing")))?;
        let mut entry = entry.map_err(|e| damaged(format!("{what}: {e}")))?;
        if entry.path_bytes().as_ref() != number.to_string().as_bytes() || entry.size() != file.bytes {
            return Err(damaged(format!("{what} isn't what the manifest says")));
        }
        if !entry.header().entry_type().is_file() {
            return Err(damaged(format!("{what} is no file")));
        }
        let to = folder.join(number.to_string());
        let failed = |e: io::Error| {
            StepError::new(Fault::Outside, format!("can't write `{}`: {e}", to.display()))
                .hint("nothing was taken in; make room and import again")
        };
        let mut out = File::create(&to).map_err(failed)?;
        let (mut hash, mut piece, mut bytes) = (Sha256::new(), vec![0; PIECE], 0);
        loop {
            if cancel.is_raised() {
                return Err(interrupted());
            }
            match entry.read(&mut piece).map_err(|e| damaged(format!("{what}: {e}")))? {
                0 => break,
                read => {
                    hash.update(&piece[..read]);
                    bytes += read as u64;
                    out.write_all(&piece[..read]).map_err(failed)?;
                }
            }
        }
        if bytes != file.bytes || hexadecimal(&hash.finalize()) != file.digest {
            return Err(damaged(format!("{what} has another digest than the manifest says")));
        }
        out.sync_all().map_err(failed)?;
    }
    match entries.next() {
        None => Ok(manifest),
        Some(Ok(_)) => Err(damaged("it holds more than its manifest says".to_owned())),
        Some(Err(e)) => Err(damaged(e.to_string())),
    }
}

/// Whether a manifest can be taken in as it is: names that are no paths, states that can be ones, tasks that a journal can hold.
fn sound(manifest: &Manifest) -> Result<(), String> {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut seen = BTreeSet::new();
    for print in &manifest.prints {
        if !is_digest(&print.id) || !print.reads.iter().all(|id| is_digest(id)) {
            return Err(format!("`{}` is no fingerprint", print.id));
        }
    }
    for stage in &manifest.stages {
        if !is_digest(&stage.fingerprint) {
            return Err(format!("`{}` is no fingerprint", stage.fingerprint));
        }
        if !seen.insert((stage.stage.clone(), String::new())) {
            return Err(format!("it names `{}` twice", stage.stage));
        }
        for (place, task) in stage.tasks.iter().enumerate() {
            if !task.is_sound(place) {
                return Err(format!("a task of `{}` isn't one", stage.stage));
            }
        }
        for file in stage.files() {
            let name = &file.name;
            let plain = Path::new(name).file_name().is_some_and(|own| own == name.as_str());
            if !plain || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(format!("`{name}` is no file's name"));
            }
            if !is_digest(&file.digest) {
                return Err(format!("`{}` is no digest", file.digest));
            }
            if !seen.insert((stage.stage.clone(), name.clone())) {
                return Err(format!("it names `{name}` twice"));
            }
        }
    }
    Ok(())
}

/// A folder for what is in the making, gone with this.
#[derive(Debug)]
pub(crate) struct Staging(pub(crate) PathBuf);

impl Staging {
    /// Makes it, and removes what others left that were killed.
    pub(crate) fn new(state: &Path) -> Result<Self, StepError> {
        let folder = state.join("imports");
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(|e| {
            StepError::new(Fault::Outside, format!("can't make the folder `{}`: {e}", folder.display()))
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
