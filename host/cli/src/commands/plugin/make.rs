//! `dflow-host plugin new` and `build`: source folders, and components of them.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use dflow_kit::{Language, Project, Sdk, create};
use dflow_pipeline::{Bytes, exit};

use crate::{
    args::{ComponentizeArgs, LanguageArg, NewArgs},
    failure::Failure,
    outside::Outside,
    terminal::Terminal,
};

/// Makes a project, and says what can be done with it.
pub(crate) fn new(args: &NewArgs, outside: &Outside, terminal: &Terminal) -> Result<u8, Failure> {
    let language = match args.lang {
        LanguageArg::Rust => Language::Rust,
        LanguageArg::Python => Language::Python,
        LanguageArg::Js => Language::Js,
    };
    create(&outside.folder, &args.name, language)?;
    let name = &args.name;
    terminal.print(
        format!(
            "made `{name}/`, with an operator, a case and a pipeline
  cd {name}
  dflow-host plugin test                  build it, and run its case in the sandbox
  dflow-host eval \"How many words?\"       run `pipeline.toml`, which uses it
"
        )
        .as_bytes(),
    )?;
    Ok(exit::DONE)
}

/// Builds a project.
pub(crate) fn build(folder: &Path, outside: &Outside, terminal: &Terminal) -> Result<u8, Failure> {
    let (project, _) = built(&outside.folder.join(folder), outside)?;
    let component = project.component();
    let size = std::fs::metadata(&component).map_or(0, |there| there.len());
    let shown = component.strip_prefix(&outside.folder).unwrap_or(&component).display();
    terminal.print(format!("{shown}, {}\n", Bytes(size)).as_bytes())?;
    Ok(exit::DONE)
}

/// A project whose component is there.
pub(super) fn built(folder: &Path, outside: &Outside) -> Result<(Project, Sdk), Failure> {
    let project = Project::find(
        &folder.canonicalize().map_err(|e| Failure::outside(format!("`{}` can't be read: {e}", folder.display())))?,
    )?;
    let cache = outside.cache().unwrap_or_else(|| PathBuf::from(".dflow"));
    let sdk = Sdk::unpacked(&cache)?;
    let host = std::env::current_exe().map_err(|e| Failure::outside(format!("this program can't be found: {e}")))?;
    project.build(&sdk, &host)?;
    Ok((project, sdk))
}

/// Makes a component, for `sdk/rust/build`.
pub(crate) fn componentize(args: &ComponentizeArgs) -> Result<u8, Failure> {
    let imports: Vec<_> = args.imports.iter().map(|import| Cow::Borrowed(import.as_str())).collect();
    dflow_kit::componentize(&args.module, &args.component, &imports)?;
    Ok(exit::DONE)
}
