"""The operators of the interpreter: what a source text imports, what its function takes, and the function itself."""

import dataclasses
import importlib
import inspect
import sys
from array import array

from dflow import arrow, columns
from dflow.columns import Built, Column, WrongValue
from dflow.operator import Description, Failure, Opened, Operator

from . import hints
from .sources import Sources, imported, missing, refuse_what_cannot_work, syntax
from .trace import told

# Rows that come of others are emitted so many at a time.
EMITTED = 4096
FAILED = object()
# What a function may raise; the end of a program isn't here.
RAISED = (Exception, SystemExit, KeyboardInterrupt)
SETTINGS = {
    "type": "object",
    "required": ["files", "names", "entry"],
    "properties": {
        "files": {"type": "object", "additionalProperties": {"type": "string"}, "description": "source texts by path, seen from the folder of the stage's file"},
        "names": {"type": "object", "additionalProperties": {"type": "string"}, "description": "what people call these files"},
        "entry": {"type": "string", "description": "the stage's file among them"},
        "function": {"type": ["string", "null"], "description": "the function's name; the only public one when it isn't said"},
        "returns": {"type": ["array", "null"], "items": {"type": "object", "required": ["name", "format"]}, "description": "the columns that come out, as fields of the contract; what its type hints say when left out"},
        "rows": {"enum": ["map", "filter", "expand", None], "description": "how many rows come of one"},
        "with": {"type": "object", "description": "values of parameters that aren't columns"},
    },
}


def checked(settings):
    """Settings whose parts belong together."""
    files, names = settings["files"], settings["names"]
    if settings["entry"] not in files or not files.keys() <= names.keys():
        raise Failure("settings", "`entry` is to be one of `files`, and each of these is to have a name in `names`")
    return settings


class Loaded:
    """A source text that was run, and its function."""

    def __init__(self, settings):
        checked(settings)
        self.files, self.names, entry = settings["files"], settings["names"], settings["entry"]
        refuse_what_cannot_work(self.files, self.names)
        sources = Sources(self.files, self.names)
        sys.meta_path.insert(0, sources)
        name = sources.begin(entry)
        try:
            module = importlib.import_module(name)
        except SyntaxError as error:
            raise syntax(error) from None
        except ModuleNotFoundError as error:
            frames = self.told(error).partition("\n")[2]
            raise Failure("settings", f"{missing(error)}\n{frames}".strip()) from None
        except RAISED as error:
            raise Failure("settings", f"`{self.names[entry]}` can't be loaded: {self.told(error)}") from None
        self.function = self._function(module, settings.get("function"), self.names[entry])
        self.name = self.function.__name__
        self.is_batch = getattr(self.function, "__dflow_batch__", False)
        try:
            self.parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise Failure("settings", f"it can't be found out what `{self.name}` takes: {error}") from None

    def told(self, error, named=True):
        return told(error, self.names.values(), named)

    def _function(self, module, name, file):
        own = {each: value for each, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__}
        if name is not None:
            found = vars(module).get(name)
            if callable(found):
                return found
            known = ", ".join(f"`{each}`" for each in own) or "none"
            raise Failure("settings", f"`{file}` has no function `{name}`; it has {known}")
        public = [value for each, value in own.items() if not each.startswith("_")]
        if len(public) == 1:
            return public[0]
        known = ", ".join(f"`{value.__name__}`" for value in public) or "none"
        raise Failure("settings", f"`{file}` is to have one function, and has {known}; name one: `python = \"{file}:name\"`")


class Asked(Operator):
    """An operator whose columns say something of source texts once it is open; no rows come of it."""

    def process(self, given, emit):
        pass


class Imports(Asked):
    """Opens with a column for each module that texts import and that may be a file beside them."""

    description = Description("imports", "filter", "the modules that source texts import", any_columns=True, settings=SETTINGS)

    def open(self, settings, _):
        return Opened("filter", [arrow.Field(name, "n") for name in imported(settings["files"], checked(settings)["names"])])


class Signature(Asked):
    """Opens with a column for each parameter of a function: nullable when it needn't be given, and with `row` in its metadata when it takes all columns."""

    description = Description("signature", "filter", "the parameters of a function", any_columns=True, settings=SETTINGS)

    def open(self, settings, _):
        loaded = Loaded(settings)
        taken = []
        for name, parameter in loaded.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise Failure("settings", f"`{loaded.name}` takes `{parameter}`; its parameters are to be the names of columns")
            whole = parameter.kind is parameter.VAR_KEYWORD or parameter.annotation is dict
            said = (("row", "1"),) if whole else ()
            taken.append(arrow.Field(name, "n", parameter.default is not parameter.empty or whole, metadata=said))
        return Opened("filter", taken)


class Call(Operator):
    """Calls a function about each row, or about a batch."""

    description = Description("call", "expand", "calls a function of a source text", any_columns=True, rejects_rows=True, settings=SETTINGS)

    def open(self, settings, fields):
        self.loaded = loaded = Loaded(settings)
        shape, output, self.is_record = hints.returned(loaded.function, loaded.name) if not loaded.is_batch else (None, None, False)
        if settings.get("returns") is not None:
            output = arrow.read([_Wire(**each) for each in settings["returns"]])
            self.is_record = None
        self.shape = settings.get("rows") or shape or "map"
        self.keeps = self.shape == "filter" and (not output or (output[0].format == "b" and self.is_record is False))
        if self.keeps:
            output = []
        if output is None:
            what = f"it isn't said which columns `{loaded.name}` gives; say it with a type hint (`-> str`, `-> Iterator[Record]`), or in the pipeline: `returns = {{ {loaded.name} = \"utf8\" }}`"
            raise Failure("settings", what)
        if not output and not self.keeps:
            raise Failure("settings", f"`{loaded.name}` gives no columns; only `rows = \"filter\"` may")
        if loaded.is_batch and self.shape == "expand":
            raise Failure("settings", f"`{loaded.name}` is given batches, and gives a value for each row; `rows = \"expand\"` is for functions of one row")
        self.output = output
        self.given = [field.name for field in fields]
        self.constants = settings.get("with") or {}
        self.whole = next((name for name, parameter in loaded.parameters.items() if parameter.annotation is dict and name not in self.given), None)
        rest = any(parameter.kind is parameter.VAR_KEYWORD for parameter in loaded.parameters.values())
        if not rest and (unknown := self.constants.keys() - loaded.parameters.keys()):
            raise Failure("settings", f"`{loaded.name}` has no parameter `{min(unknown)}`")
        return Opened(self.shape, output)

    def process(self, given, emit):
        self.emit, self.rows, self.failed = emit, emit.rows, set()
        if self.loaded.is_batch:
            self._batch(given)
        elif self.shape == "expand":
            self._expand(given)
        else:
            self._each(given)

    def _caller(self):
        """What calls the function with a row's values, in the order of the columns."""
        function, constants, names = self.loaded.function, self.constants, self.given
        if self.whole:
            own = [name for name in names if name in self.loaded.parameters]
            if not own:
                return lambda *values: function(**{self.whole: dict(zip(names, values))}, **constants)
            return lambda *values: function(**{self.whole: dict(zip(names, values))}, **{n: v for n, v in zip(names, values) if n in own}, **constants)
        positional = [name for name, parameter in self.loaded.parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        if not constants and positional[: len(names)] == names:
            return function
        return lambda *values: function(**dict(zip(names, values)), **constants)

    def _results(self, given):
        """What the function gives for each row, `FAILED` where it raises."""
        call, told, error = self._caller(), self.loaded.told, self.emit.error
        out, rows = [], self.rows
        # Without columns it is called with nothing, as often as there are rows.
        results = map(call, *(column.tolist() for column in given)) if given else (call() for _ in range(rows))
        while len(out) < rows:
            try:
                # What was given before an error is in the list, and the next values are those of the next row.
                out.extend(results)
                if len(out) < rows:
                    raise RuntimeError(f"`{self.loaded.name}` raised StopIteration")
            except RAISED as raised:
                error(len(out), type(raised).__name__, told(raised, named=False))
                out.append(FAILED)
                if not given:
                    results = (call() for _ in range(rows - len(out)))
        return out

    def _each(self, given):
        results = self._results(given)
        if self.keeps:
            kept = array("I")
            for row, result in enumerate(results):
                if result is True:
                    kept.append(row)
                elif result is not False and result is not None and result is not FAILED:
                    self.emit.error(row, "wrong-type", f"`{self.loaded.name}` is to give True or False, and gave {columns._shown(result)}")
            self.emit.send(Built(), len(kept), kept)
            return
        none = self.shape == "filter"
        rows = array("I", (row for row, result in enumerate(results) if result is not FAILED and not (none and result is None)))
        if len(rows) < len(results):
            results = [results[row] for row in rows]
        self._send(results, rows, none)

    def _send(self, results, parents, named):
        """Emits results with their parents; those that aren't of their columns' types are errors of their rows."""
        while True:
            built = Built()
            try:
                for field, values in zip(self.output, self._columns(results)):
                    columns.build(field, values, built, top=True)
                break
            except WrongValue as wrong:
                row = parents[wrong.row]
                self.failed.add(row)
                self.emit.error(row, "wrong-type", f"`{self.loaded.name}`: {wrong}")
                kept = [place for place, parent in enumerate(parents) if parent != row]
                results, parents, named = [results[place] for place in kept], array("I", (parents[place] for place in kept)), True
        return self.emit.send(built, len(results), parents if named or len(parents) != self.rows else None)

    def _columns(self, results):
        """The columns of some results."""
        if len(self.output) == 1 and self.is_record is not True:
            [field] = self.output
            if self.is_record is None and field.format[:2] not in ("+s", "+m"):
                return [[result[field.name] if isinstance(result, dict) and field.name in result else result for result in results]]
            return [results]
        first = next((result for result in results if result is not None), None)
        if isinstance(first, dict):
            read = lambda result, name, place: result[name] if name in result else None
        elif isinstance(first, tuple) and not hasattr(first, "_fields"):
            read = lambda result, name, place: result[place]
        else:
            read = lambda result, name, place: getattr(result, name)
        made = []
        for place, field in enumerate(self.output):
            values = []
            for row, result in enumerate(results):
                try:
                    values.append(read(result, field.name, place))
                except (TypeError, AttributeError, IndexError, KeyError):
                    raise WrongValue(row, f"it is to give {', '.join(f'`{each.name}`' for each in self.output)}, and gave {columns._shown(result)}") from None
            made.append(values)
        return made

    def _expand(self, given):
        call, told = self._caller(), self.loaded.told
        results, parents = [], array("I")
        for row, values in enumerate(zip(*(column.tolist() for column in given)) if given else [()] * self.rows):
            begin = len(results)
            try:
                for result in call(*values):
                    results.append(result)
                    parents.append(row)
                    if len(results) >= EMITTED:
                        if not self._send(results, parents, True):
                            return
                        results, parents, begin = [], array("I"), 0
                        if row in self.failed:
                            break
            except RAISED as error:
                del results[begin:], parents[begin:]
                self.emit.error(row, type(error).__name__, told(error, named=False))
        if results:
            self._send(results, parents, True)

    def _batch(self, given):
        arguments = dict(zip(self.given, given))
        if self.whole:
            arguments = {self.whole: dict(arguments)} | {name: arguments[name] for name in arguments if name in self.loaded.parameters}
        try:
            answer = self.loaded.function(**arguments, **self.constants)
        except RAISED as error:
            raise Failure("data", self.loaded.told(error)) from None
        if isinstance(answer, dict) and not isinstance(answer, Column):
            missing = [field.name for field in self.output if field.name not in answer]
            if missing:
                raise Failure("data", f"`{self.loaded.name}` gave no column `{missing[0]}`")
            made = [answer[field.name] for field in self.output]
        elif self.keeps or len(self.output) == 1:
            made = [answer]
        else:
            raise Failure("data", f"`{self.loaded.name}` is to give a dict of columns, and gave {columns._shown(answer)}")
        for values in made:
            if not hasattr(values, "__len__") or isinstance(values, str):
                raise Failure("data", f"`{self.loaded.name}` is to give a value for each row, and gave {columns._shown(values)}")
            if len(values) != self.rows:
                raise Failure("data", f"`{self.loaded.name}` gave {len(values)} values for {self.rows} rows")
        if self.keeps:
            kept = array("I", (row for row, keep in enumerate(made[0]) if keep))
            self.emit.send(Built(), len(kept), kept)
            return
        built = Built()
        try:
            for field, values in zip(self.output, made):
                columns.build(field, values, built, top=True)
        except WrongValue as wrong:
            raise Failure("data", f"`{self.loaded.name}`: {wrong}") from None
        self.emit.send(built, self.rows, None)


@dataclasses.dataclass
class _Wire:
    """A field as settings have it."""

    name: str
    format: str
    nullable: bool = True
    ordered: bool = False
    children: int = 0
    metadata: list = dataclasses.field(default_factory=list)
