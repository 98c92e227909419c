"""Functions of `python` stages, called as the sandbox calls them, in plain Python."""

import datetime
import sys
import unittest

from dflow import arrow, testing
from dflow.interpreter.functions import Call, Imports, Signature
from dflow.operator import Failure


def settings(text, function=None, files=None, **more):
    files = {"own.py": text} | (files or {})
    return {"files": files, "names": {path: f"ops/{path}" for path in files}, "entry": "own.py", "function": function} | more


def call(text, given, count=None, **more):
    before = list(sys.meta_path)
    try:
        return testing.run(Call, settings(text, **more), given, count)
    finally:
        sys.meta_path[:] = before


def opened(operator, text, **more):
    before = list(sys.meta_path)
    try:
        return operator().open(settings(text, **more), []).columns
    finally:
        sys.meta_path[:] = before


TEXT = {"text": ("utf8", ["a b", None, "grüße aus", ""])}


class Rows(unittest.TestCase):
    def test_a_value_for_each(self):
        ran = call("def words(text: str) -> int | None:\n    return None if text is None else len(text.split())", TEXT)
        self.assertEqual(ran.rows, [{"words": 2}, {"words": None}, {"words": 2}, {"words": 0}])
        self.assertEqual(ran.fields, [arrow.Field("words", "l", True)])

    def test_a_record_for_each(self):
        text = """
from dataclasses import dataclass
from typing import TypedDict, NamedTuple
@dataclass
class Of:
    first: str
    sizes: list[int]
class Pair(NamedTuple):
    first: str
    sizes: list[int]
class Keys(TypedDict):
    first: str
    sizes: list[int]
def dataclasses(text: str) -> Of:
    return Of(text[:1], [len(text)])
def tuples(text: str) -> Pair:
    return Pair(text[:1], [len(text)])
def dicts(text: str) -> Keys:
    return {"first": text[:1], "sizes": [len(text)]}
def some(text: str) -> Of | None:
    return Of(text, []) if len(text) > 1 else None
"""
        for function in ("dataclasses", "tuples", "dicts"):
            ran = call(text, {"text": ("utf8", ["ab", "c"])}, function=function)
            self.assertEqual(ran.rows, [{"first": "a", "sizes": [2]}, {"first": "c", "sizes": [1]}], function)
        ran = call(text, {"text": ("utf8", ["ab", "c"])}, function="some")
        self.assertEqual((ran.shape, ran.parents), ("filter", [0]))

    def test_many_or_none(self):
        text = "from typing import Iterator\ndef words(text: str) -> Iterator[str]:\n    yield from text.split()\n    if text == 'b':\n        raise ValueError('no b')"
        ran = call(text, {"text": ("utf8", ["x y", "b", "", "z"])})
        self.assertEqual((ran.shape, ran.parents), ("expand", [0, 0, 3]))
        self.assertEqual([row["words"] for row in ran.rows], ["x", "y", "z"])
        self.assertEqual({row: kind for row, (kind, _) in ran.errors.items()}, {1: "ValueError"})
        many = call("from typing import Iterator\ndef n(x: int) -> Iterator[int]:\n    yield from range(x)", {"x": ("int64", [10_000, 3, 5_000])})
        self.assertEqual(len(many.rows), 15_003)

    def test_a_row_that_raises_harms_no_other(self):
        text = "def half(n: int) -> float:\n    return 10 / n\n"
        ran = call(text, {"n": ("int64", [1, 0, 5])})
        self.assertEqual((ran.rows, ran.parents), ([{"half": 10.0}, {"half": 2.0}], [0, 2]))
        self.assertEqual(ran.errors[1], ("ZeroDivisionError", "division by zero\n  ops/own.py:2 in half: return 10 / n"))

    def test_a_value_of_another_type_is_its_rows_error(self):
        ran = call("def f(n: int) -> str:\n    return n if n == 1 else str(n)", {"n": ("int64", [0, 1, 2])})
        self.assertEqual([row["f"] for row in ran.rows], ["0", "2"])
        self.assertEqual(ran.errors[1], ("wrong-type", "`f`: `f` is to be text, and is 1 (int)"))
        ran = call("def f(n):\n    yield n\n    yield 'x'\n    yield n", {"n": ("int64", [0, 1])}, returns=[{"name": "v", "format": "l"}])
        self.assertEqual((ran.rows, sorted(ran.errors)), ([], [0, 1]))
        ran = call("def f(n):\n    for i in range(9000):\n        yield 'x' if (n, i) == (1, 4500) else i", {"n": ("int64", [0, 1, 2])}, returns=[{"name": "v", "format": "l"}])
        self.assertEqual((len(ran.rows), sorted(ran.errors)), (18_000, [1]))

    def test_stop_iteration_is_an_error_like_any_other(self):
        ran = call("def f(n: int) -> int:\n    return next(iter([])) if n == 1 else n", {"n": ("int64", [0, 1, 2])})
        self.assertEqual(([row["f"] for row in ran.rows], sorted(ran.errors)), ([0, 2], [1]))

    def test_true_or_false(self):
        text = "def long(text: str) -> bool:\n    return bool(text) and len(text) > 4"
        self.assertEqual([row["long"] for row in call(text, TEXT).rows], [False, False, True, False])
        ran = call(text, TEXT, rows="filter")
        self.assertEqual((ran.shape, ran.fields, ran.parents), ("filter", [], [2]))
        ran = call("def odd(n):\n    return 'no' if n == 2 else n % 2 == 1", {"n": ("int64", [1, 2, 3, 4])}, rows="filter")
        self.assertEqual((ran.parents, ran.errors[1][0]), ([0, 2], "wrong-type"))

    def test_constants_defaults_and_whole_rows(self):
        text = "def f(text, least, most=9, **rest):\n    return f'{text} {least} {most} {sorted(rest)}'"
        ran = call(text, {"text": ("utf8", ["a"]), "n": ("int64", [1])}, **{"with": {"least": 3}}, returns=[{"name": "v", "format": "u"}])
        self.assertEqual(ran.rows, [{"v": "a 3 9 ['n']"}])
        ran = call("def f(row: dict) -> str:\n    return str(row)", {"text": ("utf8", ["a"]), "n": ("int64", [1])})
        self.assertEqual(ran.rows, [{"f": "{'text': 'a', 'n': 1}"}])

    def test_hints_are_columns(self):
        text = "from datetime import date, datetime, time, timedelta\nfrom typing import Annotated, Literal\nfrom uuid import UUID\n"
        for hint, format, value in [
            ("Literal['a', 'b']", "u", "'a'"), ("Annotated[int, 'x']", "l", "1"), ("bytes", "z", "b'x'"), ("bool", "b", "True"), ("float", "g", "1.5"),
            ("date", "tdD", "date(2026, 11, 27)"), ("datetime", "tsu:UTC", "datetime(2026, 1, 1)"), ("time", "ttu", "time(1, 2)"), ("timedelta", "tDu", "timedelta(1)"),
            ("UUID", "w:16", "UUID(int=7)"), ("list[str] | None", "+l", "['a']"),
        ]:
            with self.subTest(hint):
                ran = call(f"{text}def f(n) -> {hint}:\n    return {value}", {"n": ("int64", [1])})
                self.assertEqual((ran.fields[0].format, len(ran.rows), ran.errors), (format, 1, {}))

    def test_hints_that_say_nothing(self):
        with self.assertRaisesRegex(Failure, "isn't said which columns `f` gives"):
            call("def f(text):\n    return text", TEXT)
        with self.assertRaisesRegex(Failure, "which type of column `complex` is"):
            call("def f(text) -> complex:\n    return text", TEXT)


class Batches(unittest.TestCase):
    def test_columns(self):
        text = """
from array import array
from dflow import batch
@batch
def double(n) -> None:
    return array("q", (2 * value for value in n.values))
@batch
def both(n, text):
    return {"n2": [value + 1 for value in n], "same": text}
@batch
def short(n):
    return [1]
@batch
def even(n):
    return [value % 2 == 0 for value in n]
"""
        given = {"n": ("int64", [1, 2, 3])}
        ran = call(text, given, function="double", returns=[{"name": "d", "format": "l"}])
        self.assertEqual(ran.rows, [{"d": 2}, {"d": 4}, {"d": 6}])
        ran = call(text, given | {"text": ("utf8", ["x", None, "ü"])}, function="both", returns=[{"name": "n2", "format": "l"}, {"name": "same", "format": "u"}])
        self.assertEqual(ran.rows, [{"n2": 2, "same": "x"}, {"n2": 3, "same": None}, {"n2": 4, "same": "ü"}])
        with self.assertRaisesRegex(Failure, "gave 1 values for 3 rows"):
            call(text, given, function="short", returns=[{"name": "d", "format": "l"}])
        ran = call(text, given, function="even", rows="filter")
        self.assertEqual(ran.parents, [1])


class Sources(unittest.TestCase):
    def test_what_is_imported(self):
        text = "import json, helpers\nfrom words.split import cut\nfrom . import near\nfrom os import path\ndef f(): pass"
        found = [field.name for field in opened(Imports, text)]
        self.assertEqual(found, ["helpers", "words.split", "words.split.cut", "near"])

    def test_neighbours(self):
        files = {"helpers.py": "from parts.inner import value\n", "parts/inner.py": "value = 7\n"}
        ran = call("import helpers\ndef f(n: int) -> int:\n    return n * helpers.value", {"n": ("int64", [2])}, files=files)
        self.assertEqual(ran.rows, [{"f": 14}])

    def test_parameters(self):
        found = opened(Signature, "def f(a, b=1, *, c, **rest): pass\ndef _g(): pass")
        self.assertEqual([(field.name, field.nullable, bool(field.metadata)) for field in found], [("a", False, False), ("b", True, False), ("c", False, False), ("rest", True, True)])

    def test_what_is_wrong_is_said(self):
        for text, function, words in [
            ("def f(:\n  pass", None, r"ops/own\.py:1: invalid syntax\n    def f\(:\n          \^"),
            ("def f(a): pass", "g", "`ops/own.py` has no function `g`; it has `f`"),
            ("def f(): pass\ndef g(): pass", None, "is to have one function, and has `f`, `g`"),
            ("from urllib import parse\nimport subprocess\ndef f(): pass", None, "`ops/own.py`: `subprocess` doesn't work here: no program can be started in the sandbox; a `command`"),
            ("import numpy\ndef f(): pass", None, "there is no module `numpy`.*a `command` stage runs a program"),
            ("1 / 0\ndef f(): pass", None, "can't be loaded: ZeroDivisionError: division by zero\n  ops/own.py:1 in <module>: 1 / 0"),
            ("def f(*a): pass", None, r"its parameters are to be the names of columns"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(Failure, "(?s)" + words):
                opened(Signature, text, function=function)


class Types(unittest.TestCase):
    def test_all_come_back(self):
        utc = datetime.timezone.utc
        struct = arrow.Field("s", "+s", True, (arrow.of("a", "int32"), arrow.of("b", "utf8")))
        entries = arrow.Field("entries", "+s", False, (arrow.of("key", "utf8", nullable=False), arrow.of("value", "int64")))
        cases = [
            ("bool", [True, None, False] * 5), ("int8", [-128, 127, None]), ("uint64", [2**64 - 1, None]), ("float16", [0.5, None]), ("float32", [1.5, None]),
            ("float64", [1e300, None]), ("utf8", ["a", "ü", None, ""]), ("binary", [b"\0", None]), ("large_utf8", ["x", None]), ("date32", [datetime.date(2026, 11, 27), None]),
            ("tsu:UTC", [datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=utc), None]), ("tsn:", [datetime.datetime(1969, 1, 2, 3, 4, 5, 6)]), ("ttu", [datetime.time(1, 2, 3), None]),
            ("tDm", [datetime.timedelta(days=-1, seconds=5), None]), ("null", [None, None]), ("w:2", [b"ab", None]),
            (arrow.list_of("l", arrow.of("item", "utf8")), [["a", None], [], None]), (arrow.Field("f", "+w:2", True, (arrow.of("item", "float32"),)), [[1.0, 2.0], None]),
            (struct, [{"a": 1, "b": None}, None]), (arrow.Field("m", "+m", True, (entries,)), [{"a": 1}, {}, None]),
        ]
        for type, values in cases:
            with self.subTest(type):
                _, [column] = testing.batch({"x": (type, values)})
                self.assertEqual(column.tolist(), values)

    def test_decimals(self):
        from decimal import Decimal

        values = [Decimal("12.34"), Decimal("-0.01"), None]
        _, [column] = testing.batch({"x": ("d:10,2", values)})
        self.assertEqual(column.tolist(), values)


if __name__ == "__main__":
    unittest.main()
