//! Where attacks are let loose: a sandbox whose memory is counted, and the text of what was seen.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, RecordBatch, StringViewArray},
    datatypes::{DataType, Field, Schema},
};
use dflow_pipeline::{Bytes, Fault, GuestLimits, Millis};
use dflow_wasm::{Cancel, Granted, MemoryAccount, Operator, Plugin, Processed, Sandbox, SandboxSettings, WasmError};

/// The memory that guests have, counted.
#[derive(Debug, Default)]
pub(crate) struct Account {
    taken: AtomicU64,
    highest: AtomicU64,
}

impl MemoryAccount for Account {
    fn try_take(&self, bytes: u64) -> bool {
        let taken = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.highest.fetch_max(taken, Ordering::Relaxed);
        true
    }

    fn give_back(&self, bytes: u64) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "{bytes} given back of {before}");
    }
}

/// What was logged while it is there.
#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<Vec<String>>>);

impl Logged {
    /// The lines so far, and forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no test panics with it"))
    }
}

impl tracing::Subscriber for Logged {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("dflow")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                match field.name() {
                    "message" => write!(self.0, "{value:?} "),
                    name => write!(self.0, "{name}={value:?} "),
                }
                .expect("a string takes all");
            }
        }
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        if !line.0.contains("compiled plugin") {
            self.0.lock().expect("no test panics with it").push(line.0);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Attacks that have columns of their own, which a copy of `text` doesn't fit.
const OTHER_COLUMNS: [&str; 4] = ["nesting", "nulls", "schema", "types"];

/// A sandbox, and what was seen in it.
pub(crate) struct Arena {
    sandbox: Sandbox,
    account: Arc<Account>,
    limits: GuestLimits,
    hostile: Option<Arc<Plugin>>,
    logged: Logged,
    _logging: tracing::subscriber::DefaultGuard,
    seen: String,
}

impl Arena {
    /// With limits that make tests quick.
    pub(crate) fn new() -> Self {
        let limits = GuestLimits { memory: Bytes(64 << 20), time: Millis(200), ..GuestLimits::default() };
        Self::within(limits)
    }

    /// With limits of one's own.
    pub(crate) fn within(limits: GuestLimits) -> Self {
        let account = Arc::new(Account::default());
        let settings = SandboxSettings {
            cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
            cancel: Cancel::new(),
            account: Some(account.clone()),
        };
        let logged = Logged::default();
        Self {
            sandbox: Sandbox::new(settings).expect("the sandbox starts"),
            account,
            limits,
            hostile: None,
            _logging: tracing::subscriber::set_default(logged.clone()),
            logged,
            seen: String::new(),
        }
    }

    /// The guest with all attacks.
    async fn hostile(&mut self) -> Arc<Plugin> {
        if let Some(plugin) = &self.hostile {
            return plugin.clone();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/.built/hostile.wasm");
        let bytes = fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; run `sdk/rust/build tests/guests` first", path.display()));
        let plugin = self
            .sandbox
            .load("hostile", &bytes, None, self.limits, Granted::default())
            .await
            .expect("it can describe itself");
        self.hostile = Some(plugin.clone());
        plugin
    }

    async fn open(&self, plugin: &Arc<Plugin>, operator: &str, how: &str) -> Result<Arc<Operator>, WasmError> {
        let mut settings = serde_json::Map::new();
        if !how.is_empty() {
            settings.insert("how".to_owned(), how.into());
        }
        let mut input = vec![Field::new("text", DataType::Utf8View, true)];
        if operator == FILES {
            input.push(Field::new("file", DataType::Binary, true));
        }
        let input = Schema::new(input);
        plugin.open("a_stage", operator, &settings, &input).await
    }

    /// Lets an attack loose on three rows.
    pub(crate) async fn attack(&mut self, operator: &str, how: &str) -> Result<Processed, WasmError> {
        self.attack_on(operator, how, &[Some("a"), Some("attack"), Some("b")]).await
    }

    /// Lets an attack loose in each of these ways, which are all lies: the plugin's fault and no row's, whatever is done with
    /// rows that fail.
    pub(crate) async fn lies(&mut self, operator: &str, ways: &[&str]) {
        for how in ways {
            let error = self.attack(operator, how).await.expect_err(how);
            is_a_lie(how, &error);
        }
    }

    /// Lets an attack loose on these rows, writes down what came of it, and sees to it that all is as it was before.
    pub(crate) async fn attack_on(
        &mut self,
        operator: &str,
        how: &str,
        rows: &[Option<&str>],
    ) -> Result<Processed, WasmError> {
        let plugin = self.hostile().await;
        let result = match self.open(&plugin, operator, how).await {
            Err(error) => Err(error),
            Ok(opened) => {
                let mut instance = opened.instance().await.expect("it opens as before");
                let result = instance.process(&columns(operator, rows)).await.map_err(|stopped| stopped.error);
                drop(instance);
                if !OTHER_COLUMNS.contains(&operator) {
                    self.goes_on(&opened).await;
                }
                result
            }
        };
        let honest = self.open(&plugin, operator, "").await.expect("it opens when it doesn't attack");
        self.goes_on(&honest).await;
        drop(honest);
        self.write_down(how, &result);
        self.nothing_is_left();
        result
    }

    /// Loads a component, opens its operator `drop` and gives it rows; writes down what came of it.
    pub(crate) async fn load(&mut self, how: &str, bytes: &[u8]) -> Result<Processed, WasmError> {
        let result = self.loaded(bytes).await;
        self.write_down(how, &result);
        self.nothing_is_left();
        // Whatever it was, another guest finds nothing of it.
        let plugin = self.hostile().await;
        let honest = self.open(&plugin, "spin", "").await.expect("it opens when it doesn't attack");
        self.goes_on(&honest).await;
        drop(honest);
        self.nothing_is_left();
        result
    }

    async fn loaded(&self, bytes: &[u8]) -> Result<Processed, WasmError> {
        let plugin = self.sandbox.load("made", bytes, None, self.limits, Granted::default()).await?;
        let operator = self.open(&plugin, "drop", "").await?;
        let mut instance = operator.instance().await?;
        instance.process(&texts(&[Some("a"), Some("b")])).await.map_err(|stopped| stopped.error)
    }

    /// A fresh instance gives the right rows, whatever became of another one.
    async fn goes_on(&self, operator: &Arc<Operator>) {
        let mut instance = operator.instance().await.expect("it starts");
        let rows = columns(&operator.description().name, &[Some("fine"), Some("too")]);
        let done = instance.process(&rows).await.expect("nothing sets it off");
        let (rows, parents) = done.joined().expect("fits").expect("two rows");
        if !["keep", "wasi"].contains(&&*operator.description().name) {
            assert_eq!(rows.column(0).as_string_view().iter().collect::<Vec<_>>(), [Some("fine"), Some("too")]);
        }
        assert_eq!(parents, [0, 1]);
    }

    /// Memory that guests have just now.
    pub(crate) fn memory(&self) -> u64 {
        self.account.taken.load(Ordering::Relaxed)
    }

    /// The most memory that guests had at a time.
    pub(crate) fn highest(&self) -> u64 {
        self.account.highest.load(Ordering::Relaxed)
    }

    fn nothing_is_left(&self) {
        assert_eq!(self.memory(), 0, "all guests are gone");
    }

    fn write_down(&mut self, how: &str, result: &Result<Processed, WasmError>) {
        let seen = &mut self.seen;
        let mut line = |text: String| seen.push_str(&(text + "\n"));
        line(format!("== {how}"));
        for logged in self.logged.take() {
            line(format!("log: {}", shortened(&logged)));
        }
        match result {
            Ok(done) => {
                let rows = done.pieces.iter().map(|piece| piece.parents.len()).sum::<usize>();
                line(format!("fine: {rows} rows"));
                for error in &done.errors {
                    line(format!("row {} failed: {}: {}", error.row, error.kind, shortened(&error.message)));
                }
            }
            Err(error) => {
                let of = error.of_a_row.map(|kind| format!(", of a row: {kind}")).unwrap_or_default();
                line(format!("fault: {:?}{of}", error.fault));
                line(shortened(&error.to_string()));
            }
        }
        line(String::new());
    }

    /// Writes something else down.
    pub(crate) fn note(&mut self, text: &str) {
        self.seen.push_str(text);
        self.seen.push('\n');
    }

    /// Compares what was seen with what is expected.
    pub(crate) fn shown(self, name: &str) {
        let seen = steady(&self.seen);
        assert!(!seen.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "control characters in {seen:?}");
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/shown").join(format!("{name}.txt"));
        if env::var_os("DFLOW_BLESS").is_some() {
            fs::write(&golden, seen).expect("a writable golden");
            return;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(seen == expected, "{}:\n--- expected\n{expected}\n--- seen\n{seen}", golden.display());
    }
}

/// Whether the plugin is to blame, and no row.
pub(crate) fn is_a_lie(how: &str, error: &WasmError) {
    assert_eq!((error.fault, error.of_a_row), (Fault::Plugin, None), "{how}: {error}");
}

/// Whether it was refused for its length.
pub(crate) fn is_too_long(how: &str, error: &WasmError) {
    assert_eq!((error.fault, error.of_a_row), (Fault::Limit, None), "{how}: {error}");
}

/// Whether a row may be to blame, and for what.
pub(crate) fn is_of_a_row(how: &str, error: &WasmError, fault: Fault, kind: &str) {
    assert_eq!((error.fault, error.of_a_row), (fault, Some(kind)), "{how}: {error}");
}

/// The attack that takes files beside `text`.
const FILES: &str = "blobs";

/// What goes into an attack: of rows that attack, the file is missing.
fn columns(operator: &str, values: &[Option<&str>]) -> RecordBatch {
    let texts = texts(values);
    if operator != FILES {
        return texts;
    }
    let files = values.iter().map(|value| value.filter(|value| *value != "attack").map(str::as_bytes));
    let files: ArrayRef = Arc::new(BinaryArray::from_iter(files));
    RecordBatch::try_from_iter_with_nullable([("text", texts.column(0).clone(), true), ("file", files, true)])
        .expect("two columns")
}

/// A column `text`.
pub(crate) fn texts(values: &[Option<&str>]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringViewArray::from(values.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("text", column, true)]).expect("one column")
}

/// A text whose middle is left out when it is long; that nothing longer than its limit is shown is asserted.
fn shortened(text: &str) -> String {
    assert!(text.len() < 10_000, "{} bytes are shown", text.len());
    if text.chars().count() <= 1_000 {
        return text.to_owned();
    }
    let (chars, start) = (text.chars().count(), text.chars().take(100).collect::<String>());
    format!("{start} [… {} characters …] {}", chars - 200, text.chars().skip(chars - 100).collect::<String>())
}

/// The text without what differs from build to build and from run to run.
fn steady(text: &str) -> String {
    let hexadecimal = |c: char| c.is_ascii_hexdigit();
    let number = |c: char| c.is_ascii_digit() || c == ':';
    let text = replaced(text, "sha256:", &hexadecimal, "<digest>");
    let text = replaced(&text, ".rs:", &number, "<line>");
    replaced(&text, "used up its time: ", &|c| c != ',', "<time>")
}

/// What follows `start` as long as `part` says so, replaced.
fn replaced(text: &str, start: &str, part: &dyn Fn(char) -> bool, word: &str) -> String {
    let mut pieces = text.split(start);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += start;
        out += word;
        out += piece.trim_start_matches(part);
    }
    out
}
