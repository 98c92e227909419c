//! Projects become components, by what their languages need.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{KitError, Language, Measured, Project, Sdk};

/// Where a machine has the SDK: for Cargo and for editors, as long as it isn't on crates.io.
const PATCH: &str =
    "# Written by `dflow-host plugin build`: where this machine has the SDK. Not for version control.\n";

/// Makes a component of a core module; for `sdk/rust/build`.
///
/// # Errors
///
/// A module that isn't a plugin's.
pub fn componentize(module: &Path, component: &Path, imports: &[Cow<'_, str>]) -> Result<(), KitError> {
    dflow_componentize::componentize(module, component, imports).map_err(KitError::plugin)
}

/// What the native benchmark of a crate prints for each operator.
#[derive(Deserialize)]
struct Native {
    operator: String,
    rows_per_second: f64,
}

impl Project {
    /// Builds the component. What compilers say goes to stderr. `host` is the program that turns core modules into components: this one.
    ///
    /// # Errors
    ///
    /// A tool that is missing, by name, or one that failed.
    pub fn build(&self, sdk: &Sdk, host: &Path) -> Result<(), KitError> {
        self.point_to(sdk)?;
        let component = self.component();
        match self.language {
            Language::Rust => {
                needs("cargo", "Rust 1.95 or newer, from https://rustup.rs")?;
                let script = sdk.path("sdk/rust/build");
                // A workspace's other members aren't this project's: the component is taken from a folder of its own.
                let built = self.folder.join(".built");
                python([script.as_os_str(), self.folder.as_os_str(), built.as_os_str()], |c| {
                    c.env("DFLOW_HOST", host)
                })?;
                let made = built.join(format!("{}.wasm", self.name));
                let copied = fs::copy(&made, &component).map(drop);
                copied.map_err(|e| KitError::outside(format!("failed to write `{}`: {e}", component.display())))
            }
            Language::Python => {
                let script = sdk.path("sdk/python/componentize");
                python(
                    [script.as_os_str(), self.folder.as_os_str(), OsStr::new(&self.module), component.as_os_str()],
                    |c| c,
                )
            }
            Language::Js => {
                needs("node", "Node 20 or newer, from https://nodejs.org")?;
                needs("npm", "it comes with Node, from https://nodejs.org")?;
                let (script, module) = (sdk.path("sdk/js/componentize"), self.folder.join(&self.module));
                run(Command::new("node").args([script.as_os_str(), module.as_os_str(), component.as_os_str()]))
            }
        }
    }

    /// Measures a crate's operators without the sandbox, if it has a benchmark for that, and adds the figures.
    ///
    /// # Errors
    ///
    /// The benchmark fails.
    pub fn measure_native(&self, sdk: &Sdk, measured: &mut [Measured]) -> Result<(), KitError> {
        if self.language != Language::Rust || !self.folder.join("benches/native.rs").exists() {
            return Ok(());
        }
        self.point_to(sdk)?;
        let mut command = Command::new("cargo");
        command.args(["bench", "--quiet", "--bench", "native"]).current_dir(&self.folder).stderr(Stdio::inherit());
        let done = command.output().map_err(|e| missing("cargo", "Rust, from https://rustup.rs", &e))?;
        if !done.status.success() {
            return Err(KitError::plugin(format!(
                "`cargo bench --bench native` failed in `{}`",
                self.folder.display()
            )));
        }
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let Ok(native) = serde_json::from_str::<Native>(line) else { continue };
            let same = measured.iter_mut().filter(|measured| measured.operator == native.operator);
            same.for_each(|measured| measured.native_rows_per_second = Some(native.rows_per_second));
        }
        Ok(())
    }

    /// Lets Cargo find the SDK.
    fn point_to(&self, sdk: &Sdk) -> Result<(), KitError> {
        if self.language != Language::Rust {
            return Ok(());
        }
        let path = self.folder.join(".cargo/config.toml");
        let there = fs::read_to_string(&path).ok();
        // What somebody has written is theirs: they say themselves where the SDK is.
        if there.as_ref().is_some_and(|text| !text.starts_with(PATCH)) {
            return Ok(());
        }
        let text = format!("{PATCH}[patch.crates-io]\ndflow-plugin = {{ path = {:?} }}\n", sdk.path("sdk/rust"));
        if there.as_ref() == Some(&text) {
            return Ok(());
        }
        let written = fs::create_dir_all(self.folder.join(".cargo")).and_then(|()| fs::write(&path, text));
        written.map_err(|e| KitError::outside(format!("failed to write `{}`: {e}", path.display())))
    }
}

/// Runs a script of the SDKs' in Python.
fn python<'a>(
    arguments: impl IntoIterator<Item = &'a OsStr>,
    more: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), KitError> {
    needs("python3", "Python 3.10 or newer, from https://www.python.org")?;
    run(more(Command::new("python3").args(arguments)))
}

fn needs(program: &str, from: &str) -> Result<(), KitError> {
    let there = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    there.map(drop).map_err(|e| missing(program, from, &e))
}

fn missing(program: &str, from: &str, why: &std::io::Error) -> KitError {
    KitError::outside(format!("`{program}` can't be run, which this plugin is built with: {why}")).hint(from)
}

/// Runs a program; what it says goes to stderr.
fn run(command: &mut Command) -> Result<(), KitError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let copied =
        child.as_mut().map(|child| child.stdout.take().map(|mut out| std::io::copy(&mut out, &mut std::io::stderr())));
    drop(copied);
    let status = child.and_then(|mut child| child.wait());
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(KitError::plugin("the plugin can't be built: what is wrong stands above")),
        Err(e) => Err(KitError::outside(format!("failed to run `{program}`: {e}"))),
    }
}
