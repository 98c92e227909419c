"""The program of a `command` stage, made of a function over a table.

What host and program say to each other is told in the package's README.
"""

import inspect
import json
import os
import sys
import traceback

import pyarrow as pa

PROTOCOL = "1"
PARENT = "__parent__"
ERROR = "__error__"
# An answer of all rows is written in batches of about so many bytes: the host takes no batch above 256 MiB.
BATCH_BYTES = 32 << 20


def command(function):
    """Makes a function the program of a `command` stage: `@command` on the last function of a script runs it at once.

    The function takes a `pyarrow.Table` and, if it has a second parameter, the settings of the stage's `with` as a dict. It gives the new
    columns: a table, a record batch, a pandas or polars frame, a dict of columns (of plain values: one row) or a list of dicts.
    """
    if function.__module__ == "__main__":
        run(function)
    return function


def run(function):
    """Serves the host with a function until the host has no more rows."""
    if sys.stdin is not None and sys.stdin.isatty():
        sys.exit("error: this program is started by `dflow-host run --allow-commands`, as a `command` stage")
    source, sink = _pipes()
    try:
        _serve(function, source, sink)
    except BrokenPipeError:
        # The host has gone; nobody would read more.
        os._exit(1)
    except Wrong as wrong:
        sys.exit(f"error: `{function.__name__}` {wrong}")
    except Exception as error:
        _tell(error)
        sys.exit(1)


command.run = run


class Wrong(Exception):
    """What a function gives isn't what the stage says: a phrase that follows the function's name."""


class Stage:
    """What the host says of the stage, in the metadata of the first schema."""

    def __init__(self, schema):
        said = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        if said.get("dflow.protocol") != PROTOCOL:
            found = said.get("dflow.protocol", "none")
            raise Wrong(f"speaks protocol {PROTOCOL} of `command` stages, the host speaks {found}: they are of different versions of dflow")
        self.name = said["dflow.stage"]
        self.rows = said["dflow.rows"]
        self.settings = json.loads(said["dflow.settings"])
        self.returns = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(said["dflow.returns"])))

    def schema(self):
        """The columns of an answer."""
        fields = list(self.returns)
        if self.rows in ("filter", "expand"):
            fields.append(pa.field(PARENT, pa.uint32()))
        if self.rows != "whole":
            fields.append(pa.field(ERROR, pa.string()))
        return pa.schema(fields)

    def answer(self, given, rows):
        """What a function gave for so many rows, as the table that is the answer."""
        schema = self.schema()
        if self.rows == "filter" and not len(self.returns):
            given = _kept(given, rows)
        table = _table(given, schema)
        if unknown := [name for name in table.column_names if schema.get_field_index(name) < 0]:
            raise Wrong(f"gives {_listed(unknown)}, which the stage's `returns` doesn't name")
        needed = [name for name in schema.names if name != ERROR]
        if missing := [name for name in needed if name not in table.column_names]:
            raise Wrong(f"gives {_listed(table.column_names) or 'no columns'}, and not {_listed(missing)}")
        if self.rows == "map" and table.num_rows != rows:
            raise Wrong(f"gives {table.num_rows} rows for {rows}; `rows = \"map\"` is one for each")
        columns = []
        for field in schema:
            if field.name not in table.column_names:
                columns.append(pa.nulls(table.num_rows, field.type))
                continue
            try:
                columns.append(table.column(field.name).cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise Wrong(f"gives `{field.name}` as {table.column(field.name).type}, the stage says {field.type}: {error}") from None
        return pa.Table.from_arrays(columns, schema=schema)


def _pipes():
    """The host's pipes. From now on what is printed goes to standard error, and nothing is there to be read."""
    sys.stdout.flush()
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if hasattr(sys.stdout, "reconfigure"):
        # What is printed is seen while it is news.
        sys.stdout.reconfigure(line_buffering=True)
    return source, sink


def _serve(function, source, sink):
    reader = pa.ipc.open_stream(source)
    stage = Stage(reader.schema)
    parameters = len(inspect.signature(function).parameters)

    def call(table):
        table = table.replace_schema_metadata(None)
        given = function(table, stage.settings) if parameters > 1 else function(table)
        return stage.answer(given, table.num_rows)

    with sink, pa.ipc.new_stream(sink, stage.schema()) as writer:
        sink.flush()
        if stage.rows == "whole":
            answer = call(reader.read_all())
            writer.write_table(answer, max_chunksize=max(1, BATCH_BYTES * answer.num_rows // max(1, answer.nbytes)))
            return
        for batch in reader:
            answer = call(pa.Table.from_batches([batch])).combine_chunks()
            batches = answer.to_batches()
            writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=answer.schema))
            # The host waits for this answer before it asks again.
            sink.flush()


def _table(given, schema):
    """What a function gave, as a table."""
    if given is None:
        raise Wrong("gives nothing; it must return the new columns")
    if isinstance(given, dict):
        if not any(_is_column(value) for value in given.values()):
            given = {name: [value] for name, value in given.items()}
        columns = {name: _array(name, values, schema) for name, values in given.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise Wrong("gives columns of " + ", ".join(f"{len(c)} rows (`{n}`)" for n, c in columns.items()))
        return pa.table(columns)
    if isinstance(given, list):
        names = {name: None for row in given for name in row}
        return _table({name: [row.get(name) for row in given] for name in names or schema.names}, schema)
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.Table):
        return given
    if type(given).__module__.split(".")[0] == "pandas":
        return pa.Table.from_pandas(given, preserve_index=False)
    try:
        return pa.table(given)
    except TypeError:
        raise Wrong(f"gives {type(given).__name__}; it must return a table, a dict of columns, or a list of dicts") from None


def _is_column(value):
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, bytearray, memoryview, dict))


def _array(name, values, schema):
    """A column of an answer, as the type that the stage says."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    at = schema.get_field_index(name)
    try:
        return pa.array(values, type=schema.field(at).type if at >= 0 else None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as error:
        raise Wrong(f"gives `{name}` as what doesn't fit: {error}") from None


def _kept(given, rows):
    """The places of the rows that a filter keeps, where it says yes or no for each."""
    if isinstance(given, (dict, pa.Table, pa.RecordBatch)):
        return given
    answers = pa.array(given, type=pa.bool_()) if not isinstance(given, pa.ChunkedArray) else given
    if len(answers) != rows:
        raise Wrong(f"answers for {len(answers)} rows, and was given {rows}")
    return {PARENT: [place for place, kept in enumerate(answers.to_pylist()) if kept]}


def _listed(names):
    return ", ".join(f"`{name}`" for name in names)


def _tell(error):
    """Prints where an error comes from, as if the function had been called directly."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    traceback.print_exception(type(error), error, at)
