"""Operators that use what the SDK has beyond plain rows, as `capable.js` has them: what comes out is the same."""

import io
import json
import re

from dflow import arrow, blobs, component, http, models
from dflow.operator import Description, Opened, Operator, Port, seeds


class Words(Operator):
    """The words of texts, as ranges of them."""

    description = Description("words", "expand", "the words of texts", ports=[Port.utf8("text")])

    def open(self, settings, columns):
        return Opened("expand", [arrow.of("word", "utf8", nullable=False), arrow.of("place", "int64", nullable=False)], slices={"word": "text"})

    def process(self, columns, emit):
        starts, ends, places, parents = [], [], [], []
        for row, text in enumerate(columns[0]):
            for place, found in enumerate(re.finditer(rb"[^ ]+", (text or "").encode())):
                starts.append(found.start())
                ends.append(found.end())
                places.append(place)
                parents.append(row)
        emit.rows_of([(starts, ends), places], parents)


class Seeds(Operator):
    """The seed of each row."""

    description = Description("seeds", "map", "the seed of each row", ports=[Port.utf8("text")], profile="seeded")

    def open(self, settings, columns):
        return Opened("map", [arrow.of("seed", "uint64", nullable=False)])

    def process(self, columns, emit):
        emit.map([seeds(columns)])


class Pieces(Operator):
    """As many pieces of 100 kB as a row says, one after the other."""

    description = Description("pieces", "expand", "as many pieces as rows say", ports=[Port("count", ["int64"])], streaming=True)

    def open(self, settings, columns):
        return Opened("expand", [arrow.of("piece", "utf8", nullable=False)])

    def process(self, columns, emit):
        for row, count in enumerate(columns[0]):
            for piece in range(count):
                if not emit.rows_of([[" " * 100_000 + str(piece)]], [row]):
                    return


class Ends(Operator):
    """How files begin and end."""

    description = Description("ends", "map", "how files begin and end", ports=[Port.file("content")], rejects_rows=True, wants=["blobs"])

    def open(self, settings, columns):
        return Opened("map", [arrow.of("size", "uint64"), arrow.of("first", "utf8"), arrow.of("last", "utf8")])

    def process(self, columns, emit):
        sizes, first, last = [], [], []
        for row, size in enumerate(columns[0]):
            try:
                with blobs.open(columns, 0, row) as file:
                    begin = file.read(4).decode()
                    file.seek(-4, io.SEEK_END)
                    end = file.read().decode()
            except OSError as error:
                emit.error(row, "unreadable", str(error))
                continue
            sizes.append(size)
            first.append(begin)
            last.append(end)
        emit.map([sizes, first, last])


class Post(Operator):
    """What servers say to texts."""

    description = Description("post", "map", "what servers say", ports=[Port.utf8("url"), Port.utf8("text")], rejects_rows=True, profile="open", wants=["http"])

    def open(self, settings, columns):
        return Opened("map", [arrow.of("status", "int32"), arrow.of("said", "utf8")])

    def process(self, columns, emit):
        good = []
        for row, answer in enumerate(http.send([http.Request.post(url, text.encode(), [("x-from", "a guest")]) for url, text in zip(*columns)])):
            if isinstance(answer, Exception):
                emit.error(row, "post", str(answer))
            else:
                said = json.loads(answer.body)
                good.append((answer.status, " ".join([dict(answer.headers)["content-type"], said["method"], said["headers"]["x-from"], said["body"]])))
        emit.map([[status for status, _ in good], [said for _, said in good]])


class Ask(Operator):
    """What a model says to texts, and their vectors."""

    description = Description(
        "ask", "map", "what a model says", ports=[Port.utf8("text")], rejects_rows=True, profile="open", wants=["models"],
        settings={"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]},
    )

    def open(self, settings, columns):
        self.model = settings["model"]
        vector = arrow.list_of("vector", arrow.of("item", "float32"))
        return Opened("map", [arrow.of("said", "utf8"), arrow.of("finish", "utf8"), arrow.of("tokens", "uint64"), vector])

    def process(self, columns, emit):
        more = {"system": "Be brief.", "schema": {"type": "object"}, "params": {"temperature": 0.5}}
        answers = models.complete(self.model, [models.Prompt(text, 30, **more) for text in columns[0]])
        good = []
        for row, both in enumerate(zip(answers, models.embed(self.model, columns[0]))):
            wrong = next((each for each in both if isinstance(each, Exception)), None)
            if wrong:
                emit.error(row, "ask", str(wrong))
            else:
                good.append(both)
        said = [answer for answer, _ in good]
        tokens = [answer.input_tokens + answer.output_tokens for answer in said]
        emit.map([[answer.text for answer in said], [answer.finish for answer in said], tokens, [vector for _, vector in good]])


Operators = component.exports_of("capable", "0.1.0", "what guests can do", [Words, Seeds, Pieces, Ends, Post, Ask])
