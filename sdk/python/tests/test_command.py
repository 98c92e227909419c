"""Programs made of functions, spoken to as the host does."""

import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import pyarrow as pa

PACKAGE = Path(__file__).resolve().parent.parent


def start(script, folder):
    path = Path(folder) / "program.py"
    path.write_text("from dflow import command\n" + textwrap.dedent(script))
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, str(path)], env=environment, **pipes)


def metadata(rows, returns, settings=None, protocol="1"):
    return {
        "dflow.protocol": protocol,
        "dflow.stage": "stage",
        "dflow.rows": rows,
        "dflow.settings": json.dumps(settings or {}),
        "dflow.returns": pa.schema(returns).serialize().to_pybytes().hex(),
    }


def talk(script, batches, rows="map", returns=(("y", pa.int64()),), settings=None, protocol="1"):
    """The batches of the answer, the exit code, and what was said on standard error."""
    schema = batches[0].schema.with_metadata(metadata(rows, list(returns), settings, protocol))
    with tempfile.TemporaryDirectory() as folder:
        written = io.BytesIO()
        with pa.ipc.new_stream(written, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
        program = start(script, folder)
        output, error = program.communicate(written.getvalue(), timeout=60)
    answers = []
    if output:
        try:
            answers = list(pa.ipc.open_stream(output))
        except pa.ArrowInvalid:
            pass
    return answers, program.returncode, error.decode()


def batch(*values):
    return pa.record_batch({"x": pa.array(values, type=pa.int64())})


class Command(unittest.TestCase):
    def right(self, *arguments, **options):
        answers, code, error = talk(*arguments, **options)
        self.assertEqual(code, 0, error)
        return [answer.to_pydict() for answer in answers]

    def wrong(self, *arguments, **options):
        _, code, error = talk(*arguments, **options)
        self.assertEqual(code, 1, error)
        return error

    def test_a_map_answers_each_batch_with_one(self):
        script = """
            @command
            def twice(table):
                print("this is for people")
                return {"y": [x * 2 for x in table["x"].to_pylist()]}
        """
        answers, code, error = talk(script, [batch(1, 2), batch(3)])
        self.assertEqual([a["y"].to_pylist() for a in answers], [[2, 4], [6]])
        self.assertEqual((code, error.count("this is for people")), (0, 2))

    def test_settings_are_a_dict_and_types_are_those_of_the_stage(self):
        script = """
            def add(table, settings):
                return [{"y": x + settings["more"]} for x in table["x"].to_pylist()]
            command.run(add)
        """
        answers, _, _ = talk(script, [batch(1)], returns=[("y", pa.float32())], settings={"more": 2})
        self.assertEqual(answers[0].schema.field("y").type, pa.float32())
        self.assertEqual(answers[0]["y"].to_pylist(), [3.0])

    def test_a_filter_may_say_yes_or_no(self):
        script = """
            @command
            def odd(table):
                return [x % 2 == 1 for x in table["x"].to_pylist()]
        """
        self.assertEqual(self.right(script, [batch(1, 2, 3), batch(2)], rows="filter", returns=[]), [
            {"__parent__": [0, 2], "__error__": [None, None]},
            {"__parent__": [], "__error__": []},
        ])

    def test_an_expansion_names_parents_and_rows_may_fail(self):
        script = """
            @command
            def count(table):
                rows = []
                for place, x in enumerate(table["x"].to_pylist()):
                    if x < 0:
                        rows.append({"__parent__": place, "__error__": f"{x} is below zero"})
                    rows += [{"__parent__": place, "y": y} for y in range(x)]
                return rows
        """
        (answer,) = self.right(script, [batch(2, -1, 0)], rows="expand")
        self.assertEqual(answer["__parent__"], [0, 0, 1])
        self.assertEqual(answer["y"], [0, 1, None])
        self.assertEqual(answer["__error__"], [None, None, "-1 is below zero"])

    def test_a_whole_sees_all_rows_at_once(self):
        script = """
            @command
            def total(table):
                return {"y": sum(table["x"].to_pylist())}
        """
        self.assertEqual(self.right(script, [batch(1, 2), batch(3)], rows="whole"), [{"y": [6]}])

    def test_no_rows_are_no_answer_and_no_error(self):
        script = """
            @command
            def never(table):
                raise ValueError
        """
        schema_only = batch().slice(0, 0)
        answers, code, error = talk(script.replace("raise ValueError", "return {'y': table['x']}"), [schema_only], rows="whole")
        self.assertEqual((sum(a.num_rows for a in answers), code), (0, 0), error)

    def test_an_error_is_told_without_our_own_lines(self):
        script = """
            def deeper(value):
                raise KeyError("no such thing")
            @command
            def fails(table):
                return deeper(1)
        """
        error = self.wrong(script, [batch(1)])
        self.assertIn("return deeper(1)", error)
        self.assertIn("KeyError: 'no such thing'", error)
        self.assertNotIn("_serve", error)

    def test_what_doesn_t_fit_is_said(self):
        for body, said in [
            ("None", "gives nothing"),
            ("{'z': [1]}", "gives `z`, which the stage's `returns` doesn't name"),
            ("{}", "gives no columns, and not `y`"),
            ("{'y': ['a']}", "gives `y` as what doesn't fit"),
            ("{'y': [1, 2]}", "gives 2 rows for 1"),
            ("{'y': [1], 'z': [1, 2]}", "1 rows (`y`), 2 rows (`z`)"),
            ("table.rename_columns(['y']).cast(__import__('pyarrow').schema([('y', 'string')])).append_column('w', table['x'])", "`w`"),
            ("7", "gives int"),
        ]:
            script = f"@command\ndef give(table):\n    return {body}\n"
            error = self.wrong(script, [batch(1)])
            self.assertIn(said, error)
            self.assertIn("`give`", error)
            self.assertNotIn("Traceback", error)

    def test_another_version_is_named(self):
        script = "@command\ndef give(table):\n    return table\n"
        self.assertIn("the host speaks 9", self.wrong(script, [batch(1)], protocol="9"))


if __name__ == "__main__":
    unittest.main()
