//! New projects.

use std::{fs, path::Path};

use dflow_wasm::shipped;

use crate::{KitError, Language, Project};

/// A file of a template: its name, and its text. `NAME` in either becomes the plugin's.
type File = (&'static str, &'static str);

/// In every project.
const ALL: [File; 3] = [
    (".gitignore", include_str!("../templates/gitignore")),
    ("cases/words.json", include_str!("../templates/case.json")),
    ("pipeline.toml", include_str!("../templates/pipeline.toml")),
];
const RUST: [File; 4] = [
    ("Cargo.toml", include_str!("../templates/rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../templates/rust/lib.rs")),
    ("benches/native.rs", include_str!("../templates/rust/native.rs")),
    ("README.md", include_str!("../templates/rust/README.md")),
];
const PYTHON: [File; 3] = [
    ("pyproject.toml", include_str!("../templates/python/pyproject.toml.in")),
    ("NAME.py", include_str!("../templates/python/NAME.py")),
    ("README.md", include_str!("../templates/python/README.md")),
];
const JS: [File; 3] = [
    ("package.json", include_str!("../templates/js/package.json.in")),
    ("NAME.js", include_str!("../templates/js/NAME.js")),
    ("README.md", include_str!("../templates/js/README.md")),
];

/// Makes a project that builds, with an operator, a case and a pipeline, in the folder `name` of `within`.
///
/// # Errors
///
/// A name that can't be a plugin's, a folder that is there already, a disk that is full.
pub fn create(within: &Path, name: &str, language: Language) -> Result<Project, KitError> {
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_name || ["test", "core", "std", "dflow", "main", "python", "js"].contains(&name) {
        let what = format!("`{name}` can't be a plugin's name");
        return Err(KitError::outside(what)
            .hint("small letters, digits and `_`, such as `my_words`; not the name of a standard library"));
    }
    if shipped(name).is_some() {
        let what = format!("`{name}` ships with dflow, and a plugin of this name can't be used");
        return Err(KitError::outside(what).hint(format!("another name, such as `my_{name}`")));
    }
    let folder = within.join(name);
    if folder.exists() {
        return Err(KitError::outside(format!("`{}` is there already", folder.display()))
            .hint("another name, or another folder"));
    }
    let files: &[File] = match language {
        Language::Rust => &RUST,
        Language::Python => &PYTHON,
        Language::Js => &JS,
    };
    for (file, text) in files.iter().chain(&ALL) {
        let path = folder.join(file.replace("NAME", name));
        let written = fs::create_dir_all(path.parent().unwrap_or(&folder))
            .and_then(|()| fs::write(&path, text.replace("NAME", name)));
        written.map_err(|e| KitError::outside(format!("failed to write `{}`: {e}", path.display())))?;
    }
    Project::find(&folder)
}
