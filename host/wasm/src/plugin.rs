//! A loaded component, and an operator of it opened for settings and columns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dflow_pipeline::{GuestLimits, Millis};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::{
    abi::{self, Failure, SliceColumn, WireOpened, WireSchema},
    blobs::Blobs,
    description::{Description, OperatorDescription, Profile, RowShape},
    error::WasmError,
    granted::Granted,
    http::Http,
    instance::{Guest, OperatorInstance, Ready, limit},
    label::Label,
    lower::viewed_type,
    models::Asks,
    sandbox::{Sandbox, World},
    schema,
    state::{State, cut},
};

/// Only types, which nothing offers and everything knows.
const TYPES: &str = "dflow:operator/types@";

/// What is particular to the stage that an operator is opened for.
#[derive(Clone, Debug, Default)]
pub struct Within {
    /// Another limit for the time that a batch may take.
    pub time: Option<Millis>,
    /// Who reads parts of the files that go into its ports.
    pub blobs: Option<Arc<dyn Blobs>>,
    /// What errors call it; the stage and the plugin's operator when left out.
    pub label: Option<String>,
    /// Who asks the models that its plugin is granted.
    pub models: Option<Arc<dyn Asks>>,
}

/// A component that was loaded, and what it says is in it.
pub struct Plugin {
    pub(crate) sandbox: Sandbox,
    /// Where its answers are determined.
    pinned: Ways,
    /// Where it may answer as it likes, if it has operators of this kind.
    open: Option<Ways>,
    pub(crate) limits: GuestLimits,
    granted: Granted,
    name: String,
    digest: String,
    size: u64,
    imports: Vec<String>,
    description: Description,
}

impl Plugin {
    pub(crate) async fn new(
        sandbox: Sandbox,
        name: &str,
        digest: String,
        size: u64,
        component: &Component,
        limits: GuestLimits,
        granted: Granted,
    ) -> Result<Self, WasmError> {
        let component_type = component.component_type();
        let imports: Vec<_> = component_type.imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
        let known = |import: &str| {
            let ours = [abi::EMITTING, abi::LOGGING, abi::BLOBS, abi::HTTP, abi::MODELS, TYPES];
            import.starts_with("wasi:") || ours.iter().any(|ours| abi::same(import, ours))
        };
        granted.covers(name, &imports)?;
        let exports: Vec<_> = component_type.exports(component.engine()).map(|(name, _)| name).collect();
        let mut versions =
            imports.iter().map(String::as_str).chain(exports.iter().copied()).filter_map(abi::version_of);
        if let Some(version) = versions.find(|version| !abi::speaks(version)) {
            return Err(abi::unspoken(name, version));
        }
        if let Some(import) = imports.iter().find(|i| !known(i)) {
            return Err(WasmError::plugin(format!(
                "plugin `{name}` wants `{import}`, which this host doesn't offer or grant"
            )));
        }
        if !exports.iter().any(|export| abi::same(export, abi::OPERATORS)) {
            let offered: Vec<_> = exports.iter().map(|export| format!("`{export}`")).collect();
            return Err(WasmError::plugin(format!("plugin `{name}` doesn't export `{}`", abi::OPERATORS)).hint(
                match offered.as_slice() {
                    [] => "it exports nothing".to_owned(),
                    offered => format!("it exports {}", offered.join(", ")),
                },
            ));
        }
        let world = sandbox.world(Profile::Pure)?;
        let plain = Linked::new(name, &world.linker, component)?;
        let mut guest =
            Guest::new(&sandbox, &plain, limits, Label::new(format!("plugin `{name}` ({digest})"), name)).await?;
        let text = guest.describe().await?;
        let description = Description::parse(name, &text)?;
        let pinned = Ways { plain, streaming: streaming(name, &description, world, component)? };
        granted.is_wanted(name, &description)?;
        let name = name.to_owned();
        Ok(Self { sandbox, pinned, open: None, limits, granted, name, digest, size, imports, description })
    }

    /// Has its open operators run in `world`, for which the component was compiled.
    pub(crate) fn run_open(&mut self, world: &World, component: &Component) -> Result<(), WasmError> {
        let plain = Linked::new(&self.name, &world.linker, component)?;
        self.open = Some(Ways { plain, streaming: streaming(&self.name, &self.description, world, component)? });
        Ok(())
    }

    /// Who makes an operator's requests.
    pub(crate) fn http(&self, operator: &OperatorDescription) -> Option<Arc<dyn Http>> {
        self.granted.http.clone().filter(|_| operator.wants("http"))
    }

    /// What instances of an operator are made of.
    pub(crate) fn linked(&self, operator: &OperatorDescription) -> &Linked {
        let ways = self.open.as_ref().filter(|_| operator.profile == Profile::Open).unwrap_or(&self.pinned);
        ways.streaming.as_ref().filter(|_| operator.streaming).unwrap_or(&ways.plain)
    }

    /// What the pipeline calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `sha256:` and 64 hexadecimal digits of the component.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The component's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The interfaces that the component imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What it says is in it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Opens an operator with settings on columns of `input` (one for each port, in order), for the stage of that name.
    ///
    /// Errors of fault `Pipeline` say that settings or columns aren't what the operator accepts, all others that the plugin
    /// is broken.
    pub async fn open(
        self: &Arc<Self>,
        stage: &str,
        operator: &str,
        settings: &serde_json::Map<String, serde_json::Value>,
        input: &Schema,
    ) -> Result<Arc<Operator>, WasmError> {
        self.open_within(stage, operator, settings, input, Within::default()).await
    }

    /// As [`open`](Self::open), with what is particular to the stage.
    pub async fn open_within(
        self: &Arc<Self>,
        stage: &str,
        operator: &str,
        settings: &serde_json::Map<String, serde_json::Value>,
        input: &Schema,
        within: Within,
    ) -> Result<Arc<Operator>, WasmError> {
        let described = self
            .description
            .operator(operator)
            .ok_or_else(|| WasmError::pipeline(format!("plugin `{}` has no operator `{operator}`", self.name)))?;
        let label = within.label.clone().unwrap_or_else(|| {
            let (plugin, version, digest) = (&self.name, &described.version, short(&self.digest));
            format!("stage `{stage}`: `{plugin}/{operator}@{version}` ({digest})")
        });
        let label = Label::new(label, &self.name);
        let input = Arc::new(described.goes_in(input).map_err(|e| WasmError::pipeline(format!("{label}: {e}")))?);
        let wire = schema::to_wire(&input).map_err(|e| WasmError::pipeline(format!("{label}: {e}")))?;
        let written = serde_json::Value::Object(settings.clone());
        let settings = written.to_string();
        let linked = self.linked(described);
        let mut guest = Guest::new(&self.sandbox, linked, self.limits, label.clone()).await?;
        guest.grant(self, described, &within);
        let opened = guest.open(operator, &settings, &wire).await;
        // Its own words are the best. Where it has none, or breaks, its schema may know why.
        let opened = match opened {
            Ok(Err(failure)) if !failure.is_broken() => return Err(refused(&label, &failure)),
            opened => match described.forbids(&written) {
                Some(wrong) => return Err(refused(&label, &Failure::Settings(wrong))),
                None => opened?.map_err(|failure| refused(&label, &failure))?,
            },
        };
        let lie = |e: String| {
            WasmError::plugin(format!("{label}: what `open` returned is wrong: {}", cut(&e, self.limits.message)))
        };
        let emitted = schema::from_wire(&opened.output).map_err(lie)?;
        let (nesting, most) = (schema::nesting(&emitted), self.limits.nesting);
        if nesting > most {
            return Err(limit(&label, "types of its columns are nested too deeply", "nesting", most, nesting));
        }
        let shape =
            RowShape::parse(&opened.shape).ok_or_else(|| lie(format!("it has the row shape `{}`", opened.shape)))?;
        if !described.shape.includes(shape) {
            return Err(lie(format!("its row shape is `{shape}`, `describe` says at most `{}`", described.shape)));
        }
        for (i, slice) in opened.slices.iter().enumerate() {
            if opened.slices[..i].iter().any(|earlier| earlier.column == slice.column) {
                return Err(lie(format!("column {} is announced twice as a slice", slice.column)));
            }
            let column = emitted
                .fields()
                .get(slice.column as usize)
                .ok_or_else(|| lie(format!("slice column {} of {}", slice.column, emitted.fields().len())))?;
            let port = input
                .fields()
                .get(slice.port as usize)
                .ok_or_else(|| lie(format!("slice of port {} of {}", slice.port, input.fields().len())))?;
            let sliceable =
                column.data_type() == port.data_type() && matches!(port.data_type(), DataType::Utf8 | DataType::Binary);
            if !sliceable {
                return Err(lie(format!(
                    "column `{}` of type {} can't be a slice of port `{}` of type {}",
                    column.name(),
                    column.data_type(),
                    port.name(),
                    port.data_type()
                )));
            }
        }
        let output: Vec<_> =
            emitted.fields().iter().map(|f| Field::clone(f).with_data_type(viewed_type(f.data_type()))).collect();
        let limits = GuestLimits { time: within.time.unwrap_or(self.limits.time), ..self.limits };
        guest.within(limits);
        Ok(Arc::new(Operator {
            plugin: self.clone(),
            limits,
            described: described.clone(),
            label,
            settings,
            wire,
            input,
            emitted: Arc::new(emitted),
            output: Arc::new(Schema::new(output)),
            shape,
            slices: Arc::from(opened.slices.as_slice()),
            opened,
            within,
            permits: Arc::new(Semaphore::new(limits.instances as usize)),
            idle: Mutex::new(vec![Ready::new(guest)?]),
        }))
    }
}

/// A component in a world.
struct Ways {
    plain: Linked,
    /// For operators that stream, if there are some.
    streaming: Option<Linked>,
}

/// A component with all that it imports.
pub(crate) struct Linked {
    pub(crate) pre: InstancePre<State>,
    /// Whether the host never waits on behalf of its guests.
    pub(crate) at_once: bool,
}

impl Linked {
    fn new(name: &str, linker: &Linker<State>, component: &Component) -> Result<Self, WasmError> {
        let pre = linker.instantiate_pre(component);
        let pre = pre.map_err(|e| WasmError::plugin(format!("plugin `{name}` doesn't fit this host: {e:#}")))?;
        let component = component.component_type();
        let at_once = component
            .imports(pre.engine())
            .all(|(import, _)| [abi::EMITTING, abi::LOGGING, TYPES].iter().any(|ours| abi::same(import, ours)));
        Ok(Self { pre, at_once })
    }
}

/// The same for its operators that stream.
fn streaming(
    name: &str,
    description: &Description,
    world: &World,
    component: &Component,
) -> Result<Option<Linked>, WasmError> {
    if !description.operators.iter().any(|operator| operator.streaming) {
        return Ok(None);
    }
    // To emit is to wait there.
    Ok(Some(Linked { at_once: false, ..Linked::new(name, &world.streaming, component)? }))
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// The first digits of a digest, for messages.
fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}

fn refused(label: &str, failure: &Failure) -> WasmError {
    let text = failure.text();
    match failure {
        Failure::Settings(_) => {
            let what = format!("{label} doesn't accept its settings: {text}");
            WasmError { refusal: Some(text.to_owned()), ..WasmError::pipeline(what) }
        }
        Failure::Schema(_) => WasmError::pipeline(format!("{label} doesn't accept its columns: {text}")),
        Failure::Unsupported(_) => WasmError::pipeline(format!("{label} doesn't support this: {text}")),
        Failure::Denied(_) => WasmError::pipeline(format!("{label} needs what isn't granted: {text}")),
        Failure::Data(_) | Failure::Other(_) => WasmError::plugin(format!("{label} could not be opened: {text}")),
    }
}

/// An operator opened for settings and columns.
pub struct Operator {
    pub(crate) plugin: Arc<Plugin>,
    /// What a batch may use.
    pub(crate) limits: GuestLimits,
    described: OperatorDescription,
    pub(crate) label: Label,
    pub(crate) settings: String,
    pub(crate) wire: WireSchema,
    pub(crate) input: SchemaRef,
    pub(crate) emitted: SchemaRef,
    pub(crate) output: SchemaRef,
    pub(crate) shape: RowShape,
    pub(crate) slices: Arc<[SliceColumn]>,
    pub(crate) opened: WireOpened,
    /// What is particular to its stage.
    pub(crate) within: Within,
    /// One for each instance that may live at a time.
    pub(crate) permits: Arc<Semaphore>,
    /// Guests that nobody uses just now. What `open` does may cost as much as hundreds of batches (a JSON Schema is compiled),
    /// so they go from task to task.
    idle: Mutex<Vec<Ready>>,
}

impl Operator {
    /// The plugin it is of.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// What the plugin says about it.
    pub fn description(&self) -> &OperatorDescription {
        &self.described
    }

    /// What a batch may use.
    pub fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// The columns it takes, plain, one for each port.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The new columns, text and bytes as views.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// How many rows come of one, with these settings.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// Whether one row's results may flow on before the row is done.
    pub fn is_streaming(&self) -> bool {
        self.described.streaming && self.shape == RowShape::Expand
    }

    pub(crate) fn idle(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance, opened: one that was [released](OperatorInstance::release), or else a fresh one. Waits while there are as many as
    /// there may be.
    pub async fn instance(self: &Arc<Self>) -> Result<OperatorInstance, WasmError> {
        let used = || self.idle().pop();
        OperatorInstance::new(self.clone(), used).await
    }

    /// An instance that has seen no row yet.
    pub async fn fresh_instance(self: &Arc<Self>) -> Result<OperatorInstance, WasmError> {
        OperatorInstance::new(self.clone(), || None).await
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}
