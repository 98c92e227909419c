//! A plugin's source folder: what it is written in, and where its component goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::KitError;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate with `crate-type = ["cdylib"]`.
    Rust,
    /// A module that exports `Operators`.
    Python,
    /// A module that exports `operators`.
    Js,
}

/// A folder that a plugin is built of.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder.
    pub folder: PathBuf,
    /// Its language.
    pub language: Language,
    /// The plugin's name, which its component is called by.
    pub name: String,
    /// Of Python the module's name, of JavaScript the path of its file.
    pub(crate) module: String,
}

#[derive(Deserialize)]
struct Cargo {
    package: CargoPackage,
    lib: Option<CargoLib>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
}

#[derive(Deserialize)]
struct CargoLib {
    name: Option<String>,
}

#[derive(Deserialize)]
struct PyProject {
    project: PyName,
    tool: PyTool,
}

#[derive(Deserialize)]
struct PyName {
    name: String,
}

#[derive(Deserialize)]
struct PyTool {
    dflow: PyDflow,
}

#[derive(Deserialize)]
struct PyDflow {
    module: String,
}

#[derive(Deserialize)]
struct NodePackage {
    name: String,
    main: String,
}

impl Project {
    /// The project in a folder: told by its `Cargo.toml`, its `pyproject.toml` or its `package.json`.
    ///
    /// # Errors
    ///
    /// There is none of these, or it doesn't say what is needed.
    pub fn find(folder: &Path) -> Result<Self, KitError> {
        let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let made = |language, name: &str, module: String| Self {
            folder: folder.to_owned(),
            language,
            name: name.replace('-', "_"),
            module,
        };
        let wrong = |file: &str, why: String| {
            KitError::plugin(format!("`{}` is not a plugin's: {}", folder.join(file).display(), why.trim()))
        };
        if let Some(text) = read("Cargo.toml") {
            let cargo: Cargo = toml::from_str(&text).map_err(|e| wrong("Cargo.toml", e.to_string()))?;
            let name = cargo.lib.and_then(|lib| lib.name).unwrap_or(cargo.package.name);
            return Ok(made(Language::Rust, &name, String::new()));
        }
        if let Some(text) = read("pyproject.toml") {
            let project: PyProject = toml::from_str(&text).map_err(|e| {
                wrong("pyproject.toml", e.to_string())
                    .hint("`[tool.dflow]` is to have `module = \"…\"`, the module with `Operators`")
            })?;
            return Ok(made(Language::Python, &project.project.name, project.tool.dflow.module));
        }
        if let Some(text) = read("package.json") {
            let package: NodePackage = serde_json::from_str(&text).map_err(|e| {
                wrong("package.json", e.to_string()).hint("`main` is to be the file that exports `operators`")
            })?;
            return Ok(made(Language::Js, &package.name, package.main));
        }
        let what = format!(
            "`{}` is no plugin's folder: it has neither Cargo.toml nor pyproject.toml nor package.json",
            folder.display()
        );
        Err(KitError::outside(what).hint("`dflow-host plugin new NAME --lang rust|python|js` makes one"))
    }

    /// Where its component is, once it was built.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// The folder of its cases.
    pub fn cases(&self) -> PathBuf {
        self.folder.join("cases")
    }
}
