"""Plugins that ask models (`tests/guests/asking`): under the same pace, money and records as stages that ask for themselves."""

import json
import subprocess
import time

from common import DFLOW, ROOT, environment
from ground import equal, exactly

COMPONENT = ROOT / "tests/guests/.built/asking.wasm"


def written(ground, operator="ask", settings="", model="", top="", grant='{ models = ["m"] }', stage=""):
    """A pipeline whose stage `asked` has a plugin ask the model `m`."""
    plugin = f'[plugin.asking]\nsource = "{COMPONENT}"\n' + (f"grant = {grant}\n" if grant else "")
    use = f'use = "asking/{operator}"\nin = {{ text = "text" }}\n{stage}\n[stage.asked.with]\nmodel = "m"\n{settings}\n'
    ground.pipeline(use, model, top, more=plugin)


def plugin_prompts(make):
    ground = make(rows=0, log_bodies=True)
    ground.rows(60, lambda i: f"row {i // 2}")
    written(ground, settings='system = "Be brief."\nparams = \'{"temperature": 0.5}\'\nmax_tokens = 30', model="price = { input = 1.0, output = 2.0 }")
    report = ground.good()
    rows = ground.out()
    equal([row["n"] for row in rows], list(range(60)))
    counts = ground.server.counts()
    # Twice the same in one call is two questions.
    equal(counts["requests"], 60, "requests")
    asked = ground.asked(report)["asked"]
    equal((asked["calls"], asked["input_tokens"]), (60, counts["input_tokens"]), "what is told")
    equal(sum(row["tokens"] for row in rows), asked["input_tokens"] + asked["output_tokens"], "tokens")
    equal(report["usd"], asked["input_tokens"] * 1000 + asked["output_tokens"] * 2000, "billionths of a dollar")
    body = ground.server.log()[0]["body"]
    equal([message["content"] for message in body["messages"]][0], "Be brief.")
    equal((body["temperature"], body["max_tokens"]), (0.5, 30))
    ground.good()
    equal(ground.server.counts()["requests"], 60, "requests of a run with nothing to do")
    # Another model is another question, and rows that are there are made anew.
    written(ground, settings='system = "Be brief."', model='model = "large-chat"')
    ground.good()
    equal(ground.server.counts()["requests"], 120, "requests when another model is asked")


def plugin_parameters(make):
    """What pace and money are counted by a plugin doesn't say by the way."""
    ground = make(rows=2)
    written(ground, settings='params = \'{"n": 50}\'')
    ground.good(code=4)
    equal(ground.server.counts()["requests"], 0, "requests")
    assert "the parameter `n` is the host's to say" in ground.run("show", "--json", command="dead")[1]


def plugin_vectors(make):
    ground = make(rows=300)
    written(ground, "embed", model="texts = 64")
    report = ground.good()
    rows = ground.out()
    assert len(rows) == 300 and len({len(row["vector"]) for row in rows}) == 1, rows[0]
    requests = ground.server.counts()["requests"]
    assert 5 <= requests <= 8, f"{requests} requests for 300 texts, 64 at a time"
    equal(ground.asked(report)["asked"]["calls"], requests, "requests that are told")
    embed = 'embed = "{{ text }}"'
    ground.pipeline(embed, f"dimensions = {len(rows[0]['vector'])}\ntexts = 64")
    ground.good()
    equal([row["vector"] for row in rows], [row["embedding"] for row in ground.out()], "vectors of a plugin and of `embed`")
    equal(ground.server.counts()["requests"], requests, "requests for vectors that a plugin has asked for")


def plugin_shared(make):
    """What a plugin was answered at temperature 0 counts for stages with the same question, and the other way round."""
    ground = make(rows=0)
    ground.rows(30, lambda i: f"row {i // 2}")
    written(ground, settings='params = \'{"temperature": 0}\'')
    ground.good()
    # Twice the same in one call is two questions, whatever is shared.
    requests = ground.server.counts()["requests"]
    assert 15 < requests <= 30, requests
    ground.pipeline('prompt = "{{ text }}"\nparams = { temperature = 0 }')
    ground.good()
    equal((ground.server.counts()["requests"], len(ground.out())), (requests, 30), "requests of a stage")
    ground.rows(10, lambda i: f"line {i}")
    ground.good()
    written(ground, settings='params = \'{"temperature": 0}\'')
    ground.good()
    equal((ground.server.counts()["requests"], len(ground.out())), (requests + 10, 10), "requests of the plugin")


def plugin_breaks(make):
    """A plugin that breaks when all is answered costs a row, and no question is asked twice for it."""
    ground = make(rows=32)
    written(ground, settings='breaks_at = "row 7"')
    ground.good(code=4)
    equal([row["n"] for row in ground.out()], [n for n in range(32) if n != 7])
    equal([(dead["kind"], dead["rows"]) for dead in ground.dead()], [("trap", 1)])
    equal(ground.server.counts()["requests"], 32, "requests")


def plugin_faults(make):
    ground = make(rows=10, faults=[{"fault": {"status": {"status": 500}}, "asked": "row 4"}, {"fault": {"status": {"status": 400}}, "asked": "row 6"}])
    written(ground, model="retries = 2")
    ground.good(code=4)
    equal([row["n"] for row in ground.out()], [0, 1, 2, 3, 5, 7, 8, 9])
    equal(ground.server.counts()["requests"], 12, "requests")
    messages = sorted(ground.run("show", "--json", command="dead")[1].splitlines())
    assert any("endpoint-failed" in line for line in messages), messages
    # A text that is refused among others is found by halves.
    ground = make("vectors", rows=0, faults=[{"fault": {"status": {"status": 400}}, "asked": "row 6 end"}])
    ground.rows(64, lambda i: f"row {i} end")
    written(ground, "embed", model="texts = 64")
    ground.good(code=4)
    equal([row["n"] for row in ground.out()], [n for n in range(64) if n != 6])


def plugin_budget(make):
    ground = make(rows=200, latency=20)
    price = "price = { input = 1000.0, output = 1000.0 }"
    written(ground, settings="max_tokens = 20", model=price)
    whole = ground.good()["usd"] / 1e9
    first = ground.out()
    ground = make("capped", rows=200, latency=20)
    written(ground, settings="max_tokens = 20", model=price + f"\nmax_usd = {whole * 0.4}")
    ground.refused(7, "stage `asked`: the money of model `m` is spent", "run again with a higher `max_usd`")
    asked = ground.server.counts()["requests"]
    assert 40 < asked < 120, asked
    written(ground, settings="max_tokens = 20", model=price, top=f"max_usd = {whole * 1.2}")
    ground.good()
    equal(ground.server.counts()["requests"], 200, "requests in all")
    equal(ground.out(), first, "rows")
    # Where there is a budget, each prompt says what may come out.
    ground = make("unsaid", rows=3)
    written(ground, model=price + "\nmax_usd = 1.0")
    ground.good(code=4)
    equal(ground.server.counts()["requests"], 0)
    assert "doesn't say how many tokens may come out" in ground.run("show", "--json", command="dead")[1]


def plugin_killed(make):
    """What was answered before a kill isn't asked again, but for what came in its last moment."""
    ground = make(rows=400, latency=100)
    written(ground, model="limits = { in_flight = 8 }")
    process = subprocess.Popen([str(DFLOW), "run"], cwd=ground.folder, env=environment(), stderr=subprocess.DEVNULL)
    time.sleep(2.5)
    process.kill()
    process.wait()
    before = ground.server.counts()["requests"]
    assert 20 < before < 400, before
    ground.good()
    again = ground.server.counts()["requests"] - 400
    assert 0 <= again <= 16, f"{again} questions were asked twice"
    equal([row["n"] for row in ground.out()], list(range(400)))


def plugin_costs(make):
    ground = make(rows=500)
    written(ground, settings="max_tokens = 20", model="price = { input = 1.0, output = 2.0 }")
    code, out, err = ground.run("--cost", "--json", command="explain")
    equal((code, ground.server.counts()["requests"]), (0, 0), err)
    [stage] = json.loads(out)["stages"]
    equal((stage["stage"], stage["model"], stage["rows"], stage["requests"]), ("asked", "m", exactly(500), exactly(500)))
    asked = ground.asked(ground.good())["asked"]
    for kind in ("input", "output"):
        assert stage[kind]["low"] <= asked[f"{kind}_tokens"] <= stage[kind]["high"], (kind, stage[kind], asked)


def plugin_grants(make):
    ground = make(rows=3)
    written(ground, grant=None)
    ground.refused(3, "plugin `asking` wants to ask models (`dflow:operator/models@0.1.1`), and the pipeline doesn't grant it that", 'grant = { models = ["writer"] }')
    written(ground, grant='{ models = ["n"] }')
    ground.refused(3, "unknown model `n`", "did you mean `m`", command="check")
    written(ground, grant='{ models = "m", http = [{ origin = "https://example.com" }] }')
    ground.refused(3, "plugin `asking` is granted to make requests, and none of its operators wants to", command="check")
    written(ground, "sneaky")
    ground.refused(5, "it asked a model, and is no open operator whose description wants `models`")
    written(ground)
    text = (ground.folder / "pipeline.toml").read_text()
    (ground.folder / "pipeline.toml").write_text(text.replace('[stage.asked.with]\nmodel = "m"', '[stage.asked.with]\nmodel = "other"'))
    ground.good(code=4)
    assert "the model `other` isn't granted; granted is `m`" in ground.run("show", "--json", command="dead")[1]
    written(ground, model='model = "small-chat"\nkey_env = "THE_KEY"')
    ground.refused(6, "the environment variable `THE_KEY`")
    equal(ground.server.counts()["requests"], 0)


def plugin_flow(make):
    """In a flow's file the model is that file's, and its name there is what the guest knows."""
    ground = make(rows=5)
    written(ground)
    text = (ground.folder / "pipeline.toml").read_text()
    inner = text[: text.index("[stage.rows]")] + '[stage.given]\ninput = { text = "utf8" }\n' + text[text.index("[stage.asked]") :].replace('from = "rows"', 'from = "given"')
    inner = inner[: inner.index("[stage.out]")] + inner[inner.index("[plugin.asking]") :]
    (ground.folder / "inner.toml").write_text(inner)
    (ground.folder / "pipeline.toml").write_text('[stage.rows]\nread = "rows.jsonl"\n[stage.asked]\nfrom = "rows"\nflow = "inner.toml"\n[stage.out]\nfrom = "asked"\nwrite = "out/"\nformat = "jsonl"\nmode = "replace"\n')
    ground.good()
    equal((len(ground.out()), ground.server.counts()["requests"]), (5, 5))


TESTS = [plugin_prompts, plugin_parameters, plugin_vectors, plugin_shared, plugin_breaks, plugin_faults, plugin_budget, plugin_killed, plugin_costs, plugin_grants, plugin_flow]
