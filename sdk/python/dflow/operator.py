"""Operators: functions of one row, called with batches of rows. What `dflow_plugin` is for Rust.

    class Upper(Operator):
        description = Description("upper", "map", ports=[Port.utf8("text", "what to change")])

        def open(self, settings, columns):
            return Opened("map", [arrow.of("upper", "utf8")])

        def process(self, columns, emit):
            emit.map([[None if text is None else text.upper() for text in columns[0]]])

An operator may carry nothing from one row to the next: the host cuts, repeats and spreads batches as it likes.
"""

from array import array
from dataclasses import dataclass, field

from .columns import Built, build

# The version of the contract that this is for.
INTERFACE = "0.1.1"
# The column that holds the rows' seeds: the last one that a seeded operator gets.
SEED = "__seed__"


class Failure(Exception):
    """Why an operator can't be opened, or gives up on a batch. `kind` is `settings`, `schema`, `data`, `unsupported`, `denied` or `other`."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


@dataclass
class Port:
    """An input: its name, the types that it takes (`utf8`, `int64` and so on, `file`, or `any`), and whether its column may be missing."""

    name: str
    types: list[str]
    summary: str = ""
    optional: bool = False

    @classmethod
    def utf8(cls, name, summary=""):
        """A port of text."""
        return cls(name, ["utf8"], summary)

    @classmethod
    def binary(cls, name, summary=""):
        """A port of bytes."""
        return cls(name, ["binary"], summary)

    @classmethod
    def file(cls, name, summary=""):
        """A port of files, read in parts with `blobs`; its column holds their sizes."""
        return cls(name, ["file"], summary)

    @classmethod
    def any(cls, name, summary=""):
        """A port of any type."""
        return cls(name, ["any"], summary)


@dataclass
class Description:
    """What an operator says of itself before it is opened.

    `shape` is the widest that `open` may answer: `map`, `filter` or `expand`. `profile` is `pure`, `seeded` (the rows come with `seeds`) or `open` (it
    may ask for what is granted: `wants` is of `http`, `models`, `blobs`). With `streaming` rows come one at a time, and what is emitted flows on before
    its row is done.
    """

    name: str
    shape: str
    summary: str = ""
    version: str = "0.1.0"
    ports: list[Port] = field(default_factory=list)
    any_columns: bool = False
    rejects_rows: bool = False
    settings: dict = field(default_factory=lambda: {"type": "object"})
    wants: list[str] = field(default_factory=list)
    profile: str = "pure"
    streaming: bool = False


@dataclass
class Opened:
    """What `open` answers: how many rows come of one with these settings, and the new columns (`arrow.Field`).

    `slices` are the columns that are emitted as ranges of an input column's values, so that no text is copied: `{"sentence": "text"}`. They are of the
    input column's type, utf8 or binary.
    """

    shape: str
    columns: list = field(default_factory=list)
    slices: dict = field(default_factory=dict)

    def sliced(self, fields):
        """The position of each slice column's input column, by its own position."""
        own, given = [field.name for field in self.columns], [field.name for field in fields]
        try:
            return {own.index(column): given.index(port) for column, port in self.slices.items()}
        except ValueError as error:
            raise Failure("other", f"a slice is of a column that isn't there: {error}") from None


def seeds(columns):
    """The seed of each row, for an operator of the profile `seeded`, as a memoryview of integers: the same for a row in every run, and in every batch.

    What is chosen by chance is to depend on nothing else: `random.Random(seed)`.
    """
    if not columns or columns[-1].field.name != SEED:
        raise Failure("schema", "no seeds came in; does the description say `profile=\"seeded\"`?")
    return columns[-1].values


class Operator:
    """An operator. `description` says what it is; an instance is made for each `open`."""

    description: Description

    def open(self, settings, columns):
        """Checks settings (a dict) and input columns (a list of `arrow.Field`), and gives what comes out: `Opened`. Raises `Failure`."""
        raise NotImplementedError

    def process(self, columns, emit):
        """Works on a batch: `columns` are `columns.Column`s in the ports' order, results go to `emit`."""
        raise NotImplementedError


class Emitter:
    """Takes what comes of a batch. Parents ascend, over all calls and errors.

    Columns are given in the order that `open` announced, a slice column as a pair `(starts, ends)`: for each row a range of bytes of its parent's value,
    on character boundaries when that is text. A null has only the empty range.
    """

    def __init__(self, fields, rows, send, sliced=()):
        self.fields, self.rows, self._send, self.wanted = fields, rows, send, True
        self._errors, self._sliced = [], sliced

    def error(self, row, kind, message):
        """Says that a row has no result. It goes out with what is emitted next, or at the end."""
        self._errors.append((row, kind, message))

    def map(self, columns):
        """One row for each row of the batch that has no error, in their order."""
        return self._emit(columns, None)

    def rows_of(self, columns, parents):
        """Rows with their parents' places in the batch. False when the host wants no more."""
        return self._emit(columns, parents)

    def finish(self):
        """Says what is left to be said."""
        if self._errors:
            self._emit([([], []) if place in self._sliced else [] for place in range(len(self.fields))], [])

    def _emit(self, columns, parents):
        built, slices = Built(), []
        columns = list(columns)
        if len(columns) != len(self.fields):
            raise ValueError(f"{len(columns)} columns were emitted, {len(self.fields)} were announced")
        rows = len(columns[0][0] if 0 in self._sliced else columns[0]) if columns else len(parents or ())
        for place, (each, values) in enumerate(zip(self.fields, columns)):
            if place in self._sliced:
                starts, ends = (array("I", bounds) for bounds in values)
                if not len(starts) == len(ends) == rows:
                    raise ValueError(f"`{each.name}` has {len(starts)} starts and {len(ends)} ends for {rows} rows")
                slices.append((place, starts.tobytes(), ends.tobytes()))
            else:
                build(each, values, built, top=True)
        return self.send(built, rows, parents, slices)

    def send(self, built, rows, parents, slices=()):
        """Sends arrays that are built already."""
        errors, self._errors = sorted(self._errors), []
        if parents is None and rows + len(errors) != self.rows:
            raise ValueError(f"{rows} rows and {len(errors)} errors came of {self.rows}")
        if parents is None and errors:
            failed = {row for row, _, _ in errors}
            parents = array("I", (row for row in range(self.rows) if row not in failed))
        if parents is not None and not isinstance(parents, array):
            parents = array("I", parents)
        self.wanted = self._send(rows, built.nodes, built.buffers, None if parents is None else parents.tobytes(), slices, errors)
        return self.wanted


def describe(plugin, version, summary, operators):
    """The document of a component with these operators."""
    def one(operator):
        own = operator.description
        ports = [{"name": port.name, "types": port.types, "optional": port.optional, "summary": port.summary} for port in own.ports]
        keys = ("name", "version", "summary", "any_columns", "shape", "rejects_rows", "settings", "wants", "profile", "streaming")
        return {key: getattr(own, key) for key in keys} | {"ports": ports, "joined_text": True}

    return {"describe": 1, "interface": INTERFACE, "plugin": plugin, "version": version, "summary": summary, "operators": [one(operator) for operator in operators]}
