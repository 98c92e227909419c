//! What a run is made of: digests of host, pipeline, plugins and inputs, so that it can be repeated and compared.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use dflow_operators::StepError;
use dflow_pipeline::{Name, Pipeline};
use dflow_plan::Plan;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fingerprint::hexadecimal;

/// What a run is made of. Digests are SHA-256, as hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOf {
    /// The version of dflow-host.
    pub host: String,
    /// The digest of its program; none where there is no folder to remember it in.
    pub host_digest: Option<String>,
    /// The digest of the pipeline in its resolved form: parameters, shared resources and flows put in.
    pub pipeline: String,
    /// The digests of plugins, and of files that command lines name (`STAGE: FILE`).
    pub plugins: BTreeMap<String, String>,
    /// By source, what there was to read.
    pub inputs: BTreeMap<Name, Inputs>,
}

/// What there was to read of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Of the files' identities and the versions of their content.
    pub digest: String,
}

/// What the journal remembers of a run, so that it can be repeated.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The resolved form.
    pub(crate) pipeline: Pipeline,
    pub(crate) made_of: MadeOf,
}

/// What a run of this plan is made of. `cache` is a folder for what is worth remembering.
pub(crate) fn made_of(plan: &Plan, cache: Option<&Path>) -> Result<MadeOf, StepError> {
    let form = serde_json::to_vec(&plan.pipeline)
        .map_err(|e| StepError::new(dflow_pipeline::Fault::Internal, e.to_string()))?;
    let bare = |digest: &str| digest.strip_prefix("sha256:").unwrap_or(digest).to_owned();
    let mut plugins: BTreeMap<String, String> =
        plan.plugins.iter().map(|(name, plugin)| (name.clone(), bare(plugin.digest()))).collect();
    for (stage, files) in &plan.programs {
        for (word, path) in files {
            if let Ok(bytes) = fs::read(path) {
                plugins.insert(format!("{stage}: {word}"), hexadecimal(&Sha256::digest(bytes)));
            }
        }
    }
    let mut inputs = BTreeMap::new();
    for source in plan.segments.iter().flat_map(|segment| &segment.sources).filter(|source| source.saved.is_none()) {
        inputs.entry(source.stage.clone()).or_insert_with(|| {
            let (mut hash, mut bytes) = (Sha256::new(), 0);
            for split in source.splits.iter() {
                bytes += split.size;
                hash.update(split.identity());
                hash.update([0]);
                hash.update(&split.etag);
                hash.update([0]);
            }
            Inputs { files: source.splits.len() as u64, bytes, digest: hexadecimal(&hash.finalize()) }
        });
    }
    Ok(MadeOf {
        host: env!("CARGO_PKG_VERSION").to_owned(),
        host_digest: cache.and_then(host_digest),
        pipeline: hexadecimal(&Sha256::digest(form)),
        plugins,
        inputs,
    })
}

/// The digest of this program: its file is large, so it is remembered for as long as that has the same size and time.
fn host_digest(cache: &Path) -> Option<String> {
    let program: PathBuf = std::env::current_exe().ok()?;
    let metadata = program.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let version = format!("{:x}-{:x}", metadata.len(), modified.as_nanos());
    let known = cache.join("host-digest");
    let remembered = fs::read_to_string(&known).unwrap_or_default();
    if let Some((of, digest)) = remembered.trim().split_once(' ')
        && of == version
        && digest.len() == 64
    {
        return Some(digest.to_owned());
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(&program).ok()?, &mut hash).ok()?;
    let digest = hexadecimal(&hash.finalize());
    fs::create_dir_all(cache).ok()?;
    fs::write(&known, format!("{version} {digest}\n")).ok()?;
    Some(digest)
}

impl MadeOf {
    /// What is different in another, but for inputs' files, as lines of text.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.host != now.host {
            lines.push(format!("dflow-host was {}, is {}", self.host, now.host));
        } else if self.host_digest.is_some() && now.host_digest.is_some() && self.host_digest != now.host_digest {
            lines.push(format!("dflow-host is another build of {}", now.host));
        }
        for (name, digest) in &self.plugins {
            match now.plugins.get(name) {
                Some(other) if other == digest => {}
                Some(_) => lines.push(format!("`{name}` has another digest")),
                None => lines.push(format!("`{name}` isn't there any more")),
            }
        }
        lines
    }
}
