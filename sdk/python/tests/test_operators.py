"""Operators that do more than map columns, in plain Python."""

import io
import unittest
import zipfile

from dflow import arrow, blobs, http, models, testing
from dflow.answers import Unanswered
from dflow.operator import Description, Failure, Opened, Operator, Port, seeds


def operator(process, shape="map", columns=(), slices=None, ports=(), **more):
    """An operator of a function."""
    class Made(Operator):
        description = Description("made", shape, ports=list(ports), **more)

        def open(self, settings, fields):
            return Opened(shape, [arrow.of(*column) for column in columns], slices or {})

        def process(self, columns, emit):
            process(columns, emit)

    return Made


class Slices(unittest.TestCase):
    TEXT = {"n": ("int64", [1, 2, 3]), "text": ("utf8", ["größe", None, "ab"])}

    def ran(self, starts, ends, parents, error=None):
        def process(_, emit):
            if error:
                emit.error(error, "k", "m")
            emit.rows_of([(starts, ends), list(range(len(parents)))], parents)

        return testing.run(operator(process, "expand", [("part", "utf8"), ("i", "int64")], {"part": "text"}), {}, self.TEXT)

    def test_are_what_they_stand_for(self):
        ran = self.ran([0, 4, 0, 0], [4, 7, 0, 1], [0, 0, 1, 2])
        self.assertEqual([(row["part"], row["i"]) for row in ran.rows], [("grö", 0), ("ße", 1), ("", 2), ("a", 3)])
        ran = self.ran([0, 0], [1, 0], [0, 2], error=2)
        self.assertEqual((ran.rows, ran.parents, list(ran.errors)), ([{"part": "g", "i": 0}], [0], [2]))

    def test_of_bytes_and_alone_and_after_errors(self):
        def process(columns, emit):
            emit.error(0, "k", "m")
            emit.map([([1], [2])])

        ran = testing.run(operator(process, columns=[("part", "binary")], slices={"part": "data"}), {}, {"data": ("binary", [b"x", b"\xff\xfe"])})
        self.assertEqual((ran.rows, ran.parents, list(ran.errors)), ([{"part": b"\xfe"}], [1], [0]))

        def failing(columns, emit):
            emit.error(0, "k", "m")

        ran = testing.run(operator(failing, columns=[("part", "utf8")], slices={"part": "text"}), {}, {"text": ("utf8", ["x"])})
        self.assertEqual((ran.rows, list(ran.errors)), ([], [0]))

    def test_lies_are_refused(self):
        for starts, ends, row, words in [
            ([0], [3], 0, r"`part`: the range 0..3 of row 0 cuts a character"), ([0], [8], 0, "is outside of its 7 bytes"), ([2], [1], 0, "is outside"),
            ([0], [1], 1, "the range 0..1 of row 1 is outside of its 0 bytes"),
        ]:
            with self.subTest(words), self.assertRaisesRegex(AssertionError, words):
                self.ran(starts, ends, [row])
        with self.assertRaisesRegex(ValueError, "`part` has 1 starts and 2 ends for 1 rows"):
            self.ran([0], [1, 2], [0])
        with self.assertRaisesRegex(Failure, "a slice is of a column that isn't there: 'none'"):
            testing.run(operator(None, columns=[("part", "utf8")], slices={"part": "none"}), {}, self.TEXT)
        with self.assertRaisesRegex(AssertionError, "`part` is utf8, and ranges of int64"):
            testing.run(operator(lambda _, emit: emit.map([([0] * 3, [0] * 3)]), columns=[("part", "utf8")], slices={"part": "n"}), {}, self.TEXT)


class Seeds(unittest.TestCase):
    def test_are_the_last_column(self):
        made = operator(lambda columns, emit: emit.map([seeds(columns)]), columns=[("seed", "uint64")], profile="seeded")
        ran = testing.run(made, {}, {"text": ("utf8", ["a", "b"]), "__seed__": ("uint64", [7, 2**64 - 1])})
        self.assertEqual(ran.rows, [{"seed": 7}, {"seed": 2**64 - 1}])
        with self.assertRaisesRegex(Failure, "no seeds came in"):
            testing.run(made, {}, {"text": ("utf8", ["a"])})


class Streaming(unittest.TestCase):
    def test_many_emissions_of_a_row(self):
        def process(columns, emit):
            for row, count in enumerate(columns[0]):
                for i in range(count):
                    emit.rows_of([[i]], [row])

        ran = testing.run(operator(process, "expand", [("i", "int64")], streaming=True), {}, {"n": ("int64", [2, 0, 3])})
        self.assertEqual((ran.parents, [row["i"] for row in ran.rows]), ([0, 0, 2, 2, 2], [0, 1, 0, 1, 2]))


class Blobs(unittest.TestCase):
    def test_archives_and_large_files(self):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.txt", b"one")
            archive.writestr("b.bin", bytes(5 << 20))
        seen = []

        def process(columns, emit):
            for row, size in enumerate(columns[1]):
                file = blobs.open(columns, 1, row)
                seen.append(None if file is None else (size, zipfile.ZipFile(file).namelist(), file.seek(0), len(file.read())))
            emit.map([columns[1]])

        made = operator(process, columns=[("size", "uint64")], ports=[Port.utf8("name"), Port.file("content")], wants=["blobs"])
        whole = packed.getvalue()
        ran = testing.run(made, {}, {"name": ("utf8", ["x", "y"]), "content": ("binary", [whole, None])})
        self.assertEqual(ran.rows, [{"size": len(whole)}, {"size": None}])
        self.assertEqual(seen, [(len(whole), ["a.txt", "b.bin"], 0, len(whole)), None])

    def test_parts(self):
        def process(columns, emit):
            emit.map([[b"|".join(blobs.read([blobs.Range(0, row, 1, 2), blobs.Range(0, row, 3, 9)])) for row in range(2)]])

        ran = testing.run(operator(process, columns=[("parts", "binary")], ports=[Port.file("content")]), {}, {"content": ("binary", [b"abcde", b"x"])})
        self.assertEqual(ran.rows, [{"parts": b"bc|de"}, {"parts": b"|"}])
        self.assertIsInstance(blobs.read([blobs.Range(0, 0, 0, 1)])[0], Unanswered)
        with self.assertRaisesRegex(OSError, "neither a host nor a test gives files here"):
            blobs.open([[1]], 0, 0).read()


class Http(unittest.TestCase):
    def test_what_a_test_answers(self):
        def answer(request):
            if request.url == "b":
                raise Unanswered("not reached")
            return http.Response(200, [("x", request.method)], request.body)

        requests = [http.Request.get("a", [("k", "v")]), http.Request.get("b"), http.Request.post("c", b"body")]
        with testing.answering(answer):
            first, second, third = http.send(requests)
        self.assertEqual((first, third), (http.Response(200, [("x", "GET")]), http.Response(200, [("x", "POST")], b"body")))
        self.assertEqual(str(second), "not reached")
        self.assertEqual(str(http.send(requests[:1])[0]), "neither a host nor a test answers requests here")


class Models(unittest.TestCase):
    def test_what_a_test_answers(self):
        prompts = [models.Prompt("a", 5), models.Prompt("b", schema={"type": "object"})]
        with testing.modelling(lambda model, prompt: models.Answer(f"{model}: {prompt.text}", output_tokens=prompt.max_tokens), lambda model, text: [len(text)]):
            self.assertEqual(models.complete("m", prompts), [models.Answer("m: a", "stop", 0, 5), models.Answer("m: b")])
            self.assertEqual(models.embed("m", ["ab"]), [[2]])
        for answer in [*models.complete("m", prompts), *models.embed("m", ["ab"])]:
            self.assertEqual((type(answer), str(answer)), (Unanswered, "neither a host nor a test answers for `m` here"))


if __name__ == "__main__":
    unittest.main()
