//! The component side: what the host calls and what it is called with. Only on wasm.

use std::cell::RefCell;
use std::sync::{Once, OnceLock};

use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;

use crate::boundary::{self, WireField, WireNode};
use crate::emit::{Emitter, Part, Sink};
use crate::{Failure, Opened, Plugin, Running};

/// Generated from `wit/operator.wit`.
#[expect(missing_docs, reason = "generated; operator.wit documents it")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::use_self, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "operator-with-capabilities",
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "dflow_plugin::guest::bindings",
        generate_all,
    });
}

use bindings::dflow::operator::emitting;
use bindings::dflow::operator::logging;
use bindings::dflow::operator::types;
use bindings::exports::dflow::operator::operators;

/// A component's plugin; implemented by [`export!`](crate::export).
pub trait Exported {
    /// The plugin.
    fn plugin() -> &'static Plugin;
}

/// The operator that this instance serves.
struct Open {
    running: Box<dyn Running>,
    opened: Opened,
    input: SchemaRef,
}

thread_local! {
    static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
}

impl<T: Exported> operators::Guest for T {
    fn describe() -> String {
        set_up();
        T::plugin().describe().to_string()
    }

    fn open(operator: String, settings: String, input: types::Schema) -> Result<operators::Opened, types::Failure> {
        set_up();
        open(T::plugin(), &operator, &settings, input).map_err(failure)
    }

    fn process(input: types::Batch) -> Result<(), types::Failure> {
        OPEN.with_borrow_mut(|open| match open {
            Some(open) => process(open, input),
            None => Err(Failure::other("`process` was called before `open`")),
        })
        .map_err(failure)
    }
}

fn open(plugin: &Plugin, operator: &str, settings: &str, input: types::Schema) -> Result<operators::Opened, Failure> {
    let fields = input.fields.into_iter().map(|field| WireField {
        name: field.name,
        format: field.format,
        nullable: field.nullable,
        ordered: field.ordered,
        children: field.children,
        metadata: field.metadata,
    });
    let input = SchemaRef::new(boundary::schema_of(&fields.collect::<Vec<_>>())?);
    let (running, opened) = plugin.operator(operator)?.open(settings, &input)?;
    let fields = boundary::fields_of(&opened.schema())?.into_iter().map(|field| types::Field {
        name: field.name,
        format: field.format,
        nullable: field.nullable,
        ordered: field.ordered,
        children: field.children,
        metadata: field.metadata,
    });
    let answer = operators::Opened {
        output: types::Schema { fields: fields.collect() },
        shape: opened.shape.as_str().to_owned(),
        slices: opened
            .slices
            .iter()
            .map(|slice| operators::SliceColumn { column: slice.column, port: slice.port })
            .collect(),
    };
    OPEN.set(Some(Open { running, opened, input }));
    Ok(answer)
}

fn process(open: &mut Open, input: types::Batch) -> Result<(), Failure> {
    let nodes = input.nodes.iter().map(|node| WireNode {
        length: node.length,
        null_count: node.null_count,
        buffers: node.buffers,
    });
    let nodes: Vec<_> = nodes.collect();
    let batch = boundary::receive(open.input.clone(), input.rows as usize, &nodes, input.buffers)?;
    let mut host = Host;
    let mut emitter = Emitter::new(&mut host, &open.opened, input.rows);
    open.running.process(&batch, &mut emitter)?;
    emitter.finish()
}

/// Sends emissions to the host, which reads them where they lie.
struct Host;

impl Sink for Host {
    fn emit(&mut self, part: Part) -> Result<bool, Failure> {
        let lent = boundary::lend(&part.columns)?;
        let nodes = lent.nodes.iter().map(|node| types::Node {
            length: node.length,
            null_count: node.null_count,
            buffers: node.buffers,
        });
        let nodes: Vec<_> = nodes.collect();
        let buffers: Vec<&[u8]> = lent.buffers.iter().map(Buffer::as_slice).collect();
        // Both sides are little-endian: the indices' memory is the contract's bytes.
        let parents = part.parents.map(Buffer::from_vec);
        let ranges: Vec<_> = part
            .slices
            .into_iter()
            .map(|ranges| (ranges.column, Buffer::from_vec(ranges.starts), Buffer::from_vec(ranges.ends)))
            .collect();
        let slices: Vec<_> =
            ranges.iter().map(|(column, starts, ends)| emitting::Slice { column: *column, starts, ends }).collect();
        let errors: Vec<_> = part
            .errors
            .iter()
            .map(|error| emitting::RowError { row: error.row, kind: &error.kind, message: &error.message })
            .collect();
        Ok(emitting::emit(emitting::Output {
            rows: part.rows,
            nodes: &nodes,
            buffers: &buffers,
            parents: parents.as_deref(),
            slices: &slices,
            errors: &errors,
        }))
    }
}

fn failure(failure: Failure) -> types::Failure {
    match failure {
        Failure::Settings(message) => types::Failure::Settings(message),
        Failure::Schema(message) => types::Failure::Schema(message),
        Failure::Data(message) => types::Failure::Data(message),
        Failure::Unsupported(message) => types::Failure::Unsupported(message),
        Failure::Denied(message) => types::Failure::Denied(message),
        Failure::Other(message) => types::Failure::Other(message),
    }
}

/// Puts the panic hook and the logger in place, once for an instance.
fn set_up() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("a panic without a message");
            let message = match panic.location() {
                Some(at) => format!("{message} at {}:{}", at.file(), at.line()),
                None => message.to_owned(),
            };
            logging::log(logging::Level::Error, "panic", &message);
        }));
        static LOGGER: OnceLock<Logger> = OnceLock::new();
        // Another logger that was set first is the author's wish.
        if log::set_logger(LOGGER.get_or_init(|| Logger)).is_ok() {
            // Below that libraries talk of every token they see, and formatting it costs more than the work.
            log::set_max_level(log::LevelFilter::Info);
        }
    });
}

/// Hands what is logged to the host.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => logging::Level::Error,
            log::Level::Warn => logging::Level::Warn,
            log::Level::Info => logging::Level::Info,
            log::Level::Debug => logging::Level::Debug,
            log::Level::Trace => logging::Level::Trace,
        };
        logging::log(level, record.target(), &record.args().to_string());
    }

    fn flush(&self) {}
}
