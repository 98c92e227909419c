"""Endpoints that answer as they are told, one by one: what they say oddly, and what money, records and selections make of it."""

import contextlib
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common import DFLOW, environment
from ground import equal, exactly

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
PROMPT = 'prompt = "Say {{ text }}"'
PRICE = "price = { input = 1000, output = 1000 }\nlimits = { in_flight = 1 }"
# Ten answers cost a dollar.
DOLLAR = "price = { input = 0, output = 20000 }\nlimits = { in_flight = 1 }"
PLAIN = '[stage.plain]\nfrom = "rows"\nwrite = "plain/"\nformat = "jsonl"\n'


class Scripted:
    """A server whose answers a function gives: of the body, and of how many came before; None drops the connection."""

    def __init__(self, answer):
        self.log, lock = [], threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                with lock:
                    number = len(self.log)
                    self.log.append((handler.path, body, handler.headers))
                status, headers, said = answer(body, number)
                said = said if isinstance(said, bytes) else json.dumps(said).encode()
                handler.send_response(status)
                for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(said))} | headers).items():
                    handler.send_header(name, value)
                handler.end_headers()
                # Who asked may have been killed.
                with contextlib.suppress(ConnectionError):
                    handler.wfile.write(said)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.root = f"http://127.0.0.1:{server.server_port}"
        self.key = f'endpoint = "{self.root}/v1"\n'

    @property
    def asked(self):
        return len(self.log)


def said(text, usage=USAGE, **message):
    choice = {"message": {"content": text, **message}, "finish_reason": "stop"}
    return 200, {}, {"choices": [choice]} | ({} if usage is None else {"usage": usage})


def vectors(body, vector, usage=USAGE):
    data = [{"index": i, "embedding": vector} for i in range(len(body["input"]))]
    return 200, {}, {"data": data, "usage": usage}


def hi(_body, _number):
    return said("hi")


def retold(ground, old, new):
    """The same pipeline with something else in it."""
    file = ground.folder / "pipeline.toml"
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new))


def odd_money(make):
    """What was spent counts until the run comes to its end, whatever became of the answers."""
    broken = Scripted(lambda _body, _number: (200, {}, b'{"oops"'))
    ground = make("unreadable", rows=100)
    ground.pipeline(PROMPT + "\nmax_tokens = 100", broken.key + PRICE + "\nmax_usd = 1\nretries = 1")
    ground.good(code=7)
    once = broken.asked
    ground.good(code=7)
    equal(broken.asked, once, "requests of a second run")
    server = Scripted(hi)
    ground = make("collected", rows=100)
    ground.pipeline(PROMPT + "\nmax_tokens = 5\nsave = true", server.key + DOLLAR + "\nmax_usd = 1", more='[stage.other]\nfrom = "rows"\nfilter = "n > 1"\nsave = true\n' + PLAIN.replace('"rows"', '"other"'))
    ground.good("--select", "asked", code=7)
    once = server.asked
    ground.run("gc", "--older-than", "0", command="cache")
    ground.good("--select", "other")
    ground.good("--select", "asked", code=7)
    equal(server.asked, once, "requests after a selection of something else, and without the answers")
    retold(ground, "max_usd = 1", "max_usd = 100")
    ground.good("--select", "asked")
    # Now the count is over.
    retold(ground, "max_usd = 100", "max_usd = 1")
    retold(ground, "Say", "Tell")
    before = server.asked
    ground.good("--select", "asked", code=7)
    equal(server.asked - before, once, "requests of a new count")


def odd_killed(make):
    """What was under way at a kill counts as spent, until a run has come to its end."""
    over = threading.Event()
    server = Scripted(lambda _body, number: (number < 4 and over.wait(20), said("hi"))[1])
    ground = make(rows=100)
    dollar = DOLLAR.replace("in_flight = 1", "in_flight = 4")
    ground.pipeline(PROMPT + "\nmax_tokens = 5", server.key + dollar + "\nmax_usd = 1")
    process = subprocess.Popen([str(DFLOW), "run"], cwd=ground.folder, env=environment(), stderr=subprocess.DEVNULL)
    began = time.time()
    while server.asked < 4 and time.time() < began + 20:
        time.sleep(0.01)
    process.kill()
    process.wait()
    over.set()
    ground.good(code=7)
    equal(server.asked, 10, "requests of ten cents each, four of which were under way at the kill")
    # What was set aside and not spent is given back at the end of a run, whatever ended it.
    ground.refused(7, "the money of model `m` is spent: $1.00 of $1.00 ($1.00 by earlier runs, at its most what was under way when one was killed)")
    retold(ground, "max_usd = 1", "max_usd = 1.2")
    ground.good(code=7)
    equal(server.asked, 12, "requests with twenty cents more")


def odd_fresh(make):
    """What is done anew asks anew, and nothing else does."""
    server = Scripted(hi)
    ground = make(rows=20)
    ground.pipeline(PROMPT + "\nmax_tokens = 5\nsave = true", server.key + DOLLAR + "\nmax_usd = 1", more='[stage.other]\nfrom = "rows"\nfilter = "n > 1"\nsave = true\n' + PLAIN.replace('"rows"', '"other"'))
    ground.good(code=7)
    once = server.asked
    assert 0 < once < 20, once
    ground.good("--select", "other", "--fresh")
    retold(ground, "max_usd = 1", "max_usd = 100")
    ground.good("--first", "1", "--fresh")
    ground.good()
    equal(server.asked, 20, "requests in all")


def odd_select(make):
    """A sink that is selected alone makes nobody pay for another."""
    server = Scripted(hi)
    ground = make(rows=5)
    ground.pipeline(PROMPT, server.key, more=PLAIN)
    ground.good("--select", "plain")
    equal((server.asked, (ground.folder / "plain").is_dir(), (ground.folder / "out").is_dir()), (0, True, False))
    ground.good()
    equal((server.asked, len(ground.out())), (5, 5))
    # All of it stands, so nothing is done for one of them.
    report = ground.good("--select", "plain")
    equal((report["tasks"], server.asked), (0, 5))
    ground.good("--select", "plain", "--fresh")
    ground.good()
    equal((server.asked, len(ground.out())), (5, 5), "after one was done anew")


def odd_limits(make):
    """Each model of an endpoint has limits of its own, those that are told, too."""
    def answer(body, _number):
        tokens = {"small": "100", "big": "1000000"}[body["model"]]
        return 200, {"x-ratelimit-limit-tokens": tokens}, said("x")[2]

    server = Scripted(answer)
    ground = make(rows=4)
    second = f'\n[model.k]\nprovider = "openai"\n{server.key}model = "big"\n'
    stages = f'[stage.b]\nfrom = "asked"\nprompt = "{"word " * 200}{{{{ n }}}}"\nmodel = "k"\ninto = "b"\n[stage.both]\nfrom = "b"\nwrite = "both/"\nformat = "jsonl"\n'
    ground.pipeline('prompt = "{{ n }}"\nmodel = "m"\nmax_tokens = 5', server.key + 'model = "small"' + second, more=stages)
    ground.good()
    equal(server.asked, 8)


def odd_endpoints(make):
    """`…/v1` and `…/v1/` are one endpoint, whose limits are shared."""
    under_way, most, lock = 0, 0, threading.Lock()

    def answer(_body, _number):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return said("hi")

    server = Scripted(answer)
    ground = make(rows=8)
    limits = "limits = { in_flight = 1 }\n"
    second = f'\n[model.k]\nprovider = "openai"\nendpoint = "{server.root}/v1/"\nmodel = "small-chat"\n{limits}'
    more = '[stage.b]\nfrom = "rows"\nprompt = "Tell {{ text }}"\nmodel = "k"\ninto = "b"\n[stage.both]\nfrom = "b"\nwrite = "both/"\nformat = "jsonl"\n'
    ground.pipeline(PROMPT + '\nmodel = "m"', server.key + limits + second, more=more)
    ground.good()
    equal((server.asked, most, server.log[-1][0]), (16, 1, "/v1/chat/completions"))


def odd_vectors(make):
    """Vectors of another server are others, and tokens are counted however they are told."""
    one, other = (Scripted(lambda body, _number, vector=vector: vectors(body, vector)) for vector in ([1, 0], [0, 1]))
    ground = make(rows=1)
    second = f'\n[model.k]\nprovider = "openai"\n{other.key}model = "small-chat"\ndimensions = 2\n'
    more = '[stage.b]\nfrom = "asked"\nembed = "{{ text }}"\nmodel = "k"\ninto = "second"\n'
    ground.pipeline('embed = "{{ text }}"\nmodel = "m"\ninto = "first"', one.key + "dimensions = 2" + second, more=more)
    retold(ground, '[stage.out]\nfrom = "asked"', '[stage.out]\nfrom = "b"')
    ground.good()
    equal([(row["first"], row["second"]) for row in ground.out()], [([1.0, 0.0], [0.0, 1.0])])
    total = Scripted(lambda body, _number: vectors(body, [1, 0], {"total_tokens": 1000}))
    ground = make("total", rows=20)
    ground.pipeline('embed = "{{ text }}"', total.key + "dimensions = 2\ntexts = 1\nprice = { input = 1000 }\nlimits = { in_flight = 1 }\nmax_usd = 2")
    ground.good(code=7)
    assert 2 <= total.asked <= 3, total.asked


def odd_cap(make):
    """Without a tokenizer a cap is passed by one request's cost at most, whatever is in flight."""
    def answer(body, _number):
        time.sleep(0.2)
        return said("x", {"prompt_tokens": len(body["messages"][0]["content"]), "completion_tokens": 1})

    server = Scripted(answer)
    ground = make(rows=0)
    ground.rows(50, lambda i: f"{i:04d} " + "7" * 3995)
    ground.pipeline('prompt = "{{ text }}"\nmax_tokens = 1', server.key + "price = { input = 1000, output = 1000 }\nmax_usd = 16")
    ground.good(code=7)
    assert server.asked <= 4, f"{server.asked} requests of $4.00 each"


def odd_small(make):
    """A budget that is too small for one request says so, and with what."""
    server = Scripted(hi)
    ground = make(rows=1)
    ground.pipeline(PROMPT + "\nmax_tokens = 100", server.key + "price = { input = 1000, output = 1000 }\nmax_usd = 0.001")
    words = "it is $0.001, and this one may cost $0.17, $0.10 of it for 100 tokens that may come out (`max_tokens`)"
    ground.refused(7, "the money of model `m` is too little for one request", words, "a lower `max_tokens`", "a higher `max_usd`")
    ground.pipeline('embed = "{{ text }}"', server.key + "dimensions = 2\nprice = { input = 1000 }", top="max_usd = 0.001")
    ground.refused(7, "the money of the run is too little for one request: it is $0.001, and this one may cost $0.07")
    equal(server.asked, 0)


def odd_proxy(make):
    """What goes to this machine goes through no proxy."""
    proxy, server = Scripted(lambda _body, _number: said("from the proxy")), Scripted(hi)
    ground = make(rows=1)
    ground.pipeline(PROMPT, server.key + 'key_env = "THE_KEY"')
    ground.good(THE_KEY="secret", HTTP_PROXY=proxy.root, ALL_PROXY=proxy.root)
    equal((server.asked, proxy.asked), (1, 0))
    for endpoint in ("http://[::1]:9/v1", "http://LOCALHOST:9/v1"):
        ground.pipeline(PROMPT, f'endpoint = "{endpoint}"\nkey_env = "THE_KEY"')
        code, _, err = ground.run(command="check", THE_KEY="secret")
        equal(code, 0, err)


def odd_headers(make):
    refusal = (429, {"Retry-After": "5000000000000000h5000000000000000h"}, b"")
    server = Scripted(lambda _body, number: refusal if number == 0 else said("hi"))
    ground = make(rows=2)
    ground.pipeline(PROMPT, server.key)
    ground.good()
    equal(len(ground.out()), 2)


def odd_rerun(make):
    server = Scripted(hi)
    ground = make(rows=3)
    ground.pipeline(PROMPT + "\nusage = true", server.key)
    report = ground.good()
    code, out, err = ground.run(report["run"], "--json", command="rerun")
    assert code == 0 and json.loads(out)["equal"], out + err


def odd_limit(make):
    """Of a few rows that are wanted few are asked about."""
    server = Scripted(hi)
    ground = make(rows=1000)
    ground.pipeline(PROMPT, server.key, more='[stage.l]\nfrom = "asked"\nlimit = 3\n')
    retold(ground, '[stage.out]\nfrom = "asked"', '[stage.out]\nfrom = "l"')
    ground.good()
    equal((len(ground.out()), server.asked), (3, 3))


def odd_costs(make):
    server = Scripted(hi)
    ground = make(rows=0)
    ground.rows(1000, lambda i: f"t {i % 5}")
    ground.pipeline(PROMPT + "\nmax_tokens = 50\nparams = { temperature = 0 }", server.key + "price = { input = 1, output = 1 }")
    [stage] = json.loads(ground.run("--cost", "--json", command="explain")[1])["stages"]
    equal((stage["rows"], stage["requests"], stage["known"]), (exactly(1000), exactly(5), True))
    more = '[stage.f]\nfrom = "asked"\nfilter = "label = \'b\'"\n[stage.b]\nfrom = "f"\nprompt = "B {{ text }}"\nmax_tokens = 50\n'
    ground.pipeline('classify = "x {{ text }}"\nlabels = ["a", "b"]\nmax_tokens = 50', server.key + "price = { input = 1, output = 1 }", more=more)
    retold(ground, '[stage.out]\nfrom = "asked"', '[stage.out]\nfrom = "b"')
    code, out, err = ground.run("--cost", command="explain")
    assert code == 0 and "not known" in out and "which rows `b` asks about depends on answers" in out, out + err


def odd_samples(make):
    """What a sample says nothing of isn't taken for proportional: limits, groups, and filters that let none of it through."""
    server = Scripted(hi)
    ground = make(rows=1000)
    def told(before, above):
        # The stage `asked` reads `above`, which is one of those before.
        ground.pipeline(PROMPT + "\nmax_tokens = 50", server.key + "price = { input = 1, output = 1 }", more=before)
        retold(ground, '[stage.asked]\nfrom = "rows"', f'[stage.asked]\nfrom = "{above}"')
        told = json.loads(ground.run("--cost", "--sample", "100", "--json", command="explain")[1])
        return told, {stage["stage"]: stage["rows"] for stage in told["stages"]}

    few = '[stage.few]\nfrom = "rows"\nlimit = 10\n'
    more = '[stage.words]\nfrom = "few"\nset = { word = "make_array(n, n + 1, n + 2)" }\n[stage.each]\nfrom = "words"\nexplode = "word"\n'
    every = '[stage.every]\nfrom = "rows"\nprompt = "Every {{ text }}"\nmax_tokens = 50\n'
    of, rows = told(few + more + every, "each")
    equal((of["sampled"], rows), ({"rows": [100, 1000]}, {"asked": exactly(30), "every": exactly(1000)}))
    picked = '[stage.picked]\nfrom = "rows"\nsample = { rows = 150 }\n'
    equal(told(picked, "picked")[1], {"asked": exactly(150)})
    groups = '[stage.groups]\nfrom = "rows"\ngroup = { by = { half = "n / 50" }, set = { text = "min(text)" } }\n'
    # Each row that wasn't looked at may be of a group of its own.
    equal(told(groups, "groups")[1], {"asked": {"low": 2, "likely": 20, "high": 902}})
    distinct = '[stage.halves]\nfrom = "rows"\nset = { half = "CASE WHEN n < 100 THEN 0 ELSE n END" }\n[stage.each]\nfrom = "halves"\ndistinct = ["half"]\n'
    equal(told(distinct, "each")[1], {"asked": {"low": 1, "likely": 10, "high": 901}})
    late = '[stage.late]\nfrom = "rows"\nfilter = "n >= 900"\n'
    of, rows = told(late, "late")
    equal((rows, of["stages"][0]["known"], of["stages"][0]["usd"]), ({"asked": {"low": 0, "likely": 0, "high": 1000}}, False, None))
    code, out, err = ground.run("--cost", "--sample", "100", command="explain")
    assert code == 0 and "0 to 1,000" in out and "no row that was looked at comes to `asked`" in out, out + err
    equal(told(late.replace("n >= 900", "n >= 1000"), "late")[1]["asked"]["high"], 1000)
    code, out, err = ground.run("--cost", "--sample", "1000", command="explain")
    assert code == 0 and "all 1,000 rows of `rows`" in out and "no row" not in out, out + err
    # How many rows a query may give isn't known.
    query = '[stage.query]\nfrom = "rows"\nsql = "SELECT * FROM rows WHERE n >= 900"\n'
    equal(told(query, "query")[1], {"asked": {"low": 0, "likely": 0, "high": None}})
    code, out, err = ground.run("--cost", "--sample", "100", command="explain")
    assert code == 0 and "not known" in out and "0 to" not in out and "no row that was looked at comes to `asked`" in out, out + err


def odd_schemas(make):
    """What fits a JSON Schema becomes columns; what a column can't hold is asked for once more; what has no type is refused before."""
    def typed(name, schema, answers, code=0):
        server = Scripted(lambda _body, number: said(answers[min(number, len(answers) - 1)]))
        ground = make(name, rows=1)
        ground.pipeline(PROMPT + f"\nschema = {schema}", server.key)
        ground.good(code=code)
        return server.asked, [row["a"] for row in ground.out()] if code == 0 else None

    defs = '"$defs" = { x = { type = "object", properties = { n = { type = "string" } } } }'
    of = '{ type = "object", properties = { a = %s }, ' + defs + " }"
    equal(typed("ref", of % '{ type = "array", items = { "$ref" = "#/$defs/x" } }', ['{"a":[{"n":"x"}]}']), (1, [[{"n": "x"}]]))
    equal(typed("null", of % '{ anyOf = [{ type = "integer" }, { type = "null" }] }', ['{"a":7}']), (1, [7]))
    equal(typed("free", of % '{ type = "array", items = { type = "object" } }', ['{"a":[{"k":1}]}']), (1, [['{"k":1}']]))
    equal(typed("enum", of % "{ enum = [1, 2] }", ['{"a":1}']), (1, [1]))
    row = '"$defs" = { row = { type = "object", properties = { a = { type = "object", allOf = [{ "$ref" = "#/$defs/n" }] } } }, n = { properties = { n = { type = "integer" } } } }'
    escaped = '{ "$ref" = "#/$defs/a~1b%20c", "$defs" = { "a/b c" = { type = "object", properties = { a = { "$ref" = "#/$defs/c%20d" } } }, "c d" = { type = "integer" } } }'
    equal(typed("escaped", escaped, ['{"a":7}']), (1, [7]))
    equal(typed("root", '{ "$ref" = "#/$defs/row", title = "A row", ' + row + " }", ['{"a":{"n":7}}']), (1, [{"n": 7}]))
    equal(typed("whole", '{ allOf = [{ "$ref" = "#/$defs/row" }], ' + row + " }", ['{"a":{"n":"x"}}', '{"a":{"n":7}}']), (2, [{"n": 7}]))
    equal(typed("date", '{ a = "date32" }', ['{"a":"tomorrow"}', '{"a":"2024-01-02"}']), (2, ["2024-01-02"]))
    equal(typed("small", '{ a = "int8" }', ['{"a":300}', '{"a":3}']), (2, [3]))
    equal(typed("float", '{ a = "float32" }', ['{"a":1e300}'], code=4), (2, None))
    # Conditions beside members are none; members of two places would leave one place's answers without columns.
    equal(typed("conditions", '{ properties = { a = { type = "integer" } }, allOf = [{ required = ["a"] }, { required = [] }] }', ['{"a":7}']), (1, [7]))
    ground = make("base", rows=1)
    ground.pipeline(PROMPT + "\nschema = " + of % '{ properties = { m = { type = "string" } }, allOf = [{ "$ref" = "#/$defs/x" }] }')
    ground.refused(3, "`a` is made of several schemas", command="check")
    ground = make("several", rows=1)
    ground.pipeline(PROMPT + "\nschema = " + of % '{ type = ["integer", "string"] }')
    ground.refused(3, "`a` may be one of several things (integer, string)", command="check")


def odd_errors(make):
    """Errors say what they are, wherever they come from, and end what they should."""
    def ends(name, answer, code, *words, model="retries = 1", **more):
        server = Scripted(lambda _body, _number: answer)
        ground = make(name, rows=3)
        ground.pipeline(PROMPT, server.key + model)
        ground.good(code=code, **more)
        err = ground.run(**more)[2] if code != 4 else ground.run(command="dead")[1] + json.dumps(ground.dead())
        for word in words:
            assert word in err, f"{name}: `{word}` isn't in {err!r}"

    # Whatever it speaks of, an endpoint that breaks is asked again.
    broken = {"message": "The content filter service is temporarily unavailable"}
    server = Scripted(lambda _body, number: said("hi") if number % 2 else (500, {}, {"error": broken}))
    ground = make("broken", rows=5)
    ground.pipeline(PROMPT, server.key + "retries = 3\nlimits = { in_flight = 1 }")
    ground.good()
    equal((len(ground.out()), server.asked), (5, 10))
    ends("within", (200, {}, {"error": {"message": "insufficient credits"}}), 4, "insufficient credits")
    ends("money", (200, {}, {"error": {"message": "no credits", "code": 402}}), 6, "no credits", "no money left")
    low = {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}}
    ends("anthropic", (400, {}, low), 6, "no money left", model='provider = "anthropic"\nmax_usd = 9\nprice = { input = 1, output = 1 }')
    ends("escapes", (401, {}, {"error": {"message": "bad \x1b[31mred"}}), 6, "bad \\u{1b}[31mred")
    # The requests of rows that fail are told, those of the model before the fallback, too.
    down, wrong = (Scripted(lambda _body, _number, status=status: (status, {}, {"error": {"message": "no"}})) for status in (500, 400))
    ground = make("counted", rows=3)
    second = f'retries = 1\nfallback = ["k"]\n[model.k]\nprovider = "openai"\n{wrong.key}model = "small"\n'
    ground.pipeline(PROMPT + '\nmodel = "m"\non_error = "skip"', down.key + second)
    asked = ground.asked(ground.good())["asked"]
    equal((down.asked, wrong.asked, asked["calls"]), (6, 3, 9), "requests")
    server = Scripted(lambda _body, _number: said("fine", refusal=""))
    ground = make("refusal", rows=1)
    ground.pipeline(PROMPT, server.key)
    ground.good()
    equal([row["answer"] for row in ground.out()], ["fine"])


def odd_moderation(make):
    """What a provider's filter turns away is that row's failure, whatever the status; a 403 about the key, the account or the region ends the run."""
    flagged = {"message": 'm requires moderation on p. Your input was flagged for "violence".', "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "row 1"}}
    filtered = {"message": "The response was filtered.", "type": None, "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
    for name, status, error in [("flagged", 403, flagged), ("filtered", 400, filtered), ("within", 200, filtered)]:
        turned_away = (status, {}, {"error": error})
        server = Scripted(lambda body, _number: turned_away if "row 1" in json.dumps(body) else said("hi"))
        ground = make(name, rows=3)
        ground.pipeline(PROMPT, server.key)
        ground.good(code=4)
        equal(([row["n"] for row in ground.out()], server.asked), ([0, 2], 3), name)
        equal([(dead["kind"], dead["rows"]) for dead in ground.dead()], [("refused", 1)], name)
        # Another provider's filter may let it through.
        other = Scripted(hi)
        ground = make(f"{name}-fallback", rows=3)
        second = f'fallback = ["k"]\n[model.k]\nprovider = "openai"\n{other.key}model = "small"\n'
        ground.pipeline(PROMPT + '\nmodel = "m"', server.key + second)
        ground.good()
        equal((len(ground.out()), server.asked, other.asked), (3, 6, 1), f"{name}, with a fallback")
    region = {"message": "Country, region, or territory not supported", "code": "unsupported_country_region_territory"}
    suspended = {"message": "Your account is suspended for violating our content policy", "code": "account_suspended"}
    for name, error, words in [("region", region, "territory not supported"), ("suspended", suspended, "is suspended")]:
        refusal = (403, {}, {"error": error})
        server = Scripted(lambda _body, _number: refusal)
        ground = make(name, rows=3)
        ground.pipeline(PROMPT + '\non_error = "skip"', server.key)
        ground.refused(6, "stage `asked`", words, "`key_env`")


def odd_templates(make):
    server = Scripted(lambda body, _number: said(body["messages"][0]["content"]))
    ground = make(rows=0)
    (ground.folder / "rows.jsonl").write_text('{"n": 0, "range": "1 to 5", "t": ["a", "b", "c"]}\n')
    ground.pipeline('prompt = "{% if w > 2 %}many{% endif %} {{ w + 1 }} {{ range }}"', server.key, more='[stage.x]\nfrom = "rows"\nset = { w = "array_length(t)" }\n')
    retold(ground, '[stage.asked]\nfrom = "rows"', '[stage.asked]\nfrom = "x"')
    ground.good()
    equal([row["answer"] for row in ground.out()], ["many 4 1 to 5"])


def odd_record(make):
    """A run that has nothing to do keeps the recorded answers."""
    server = Scripted(hi)
    ground = make(rows=2)
    ground.pipeline(PROMPT, server.key)
    ground.good("--record", "answers.jsonl")
    before = (ground.folder / "answers.jsonl").read_text()
    ground.good("--record", "answers.jsonl")
    equal((ground.folder / "answers.jsonl").read_text(), before)


TESTS = [odd_money, odd_killed, odd_fresh, odd_select, odd_limits, odd_endpoints, odd_vectors, odd_cap, odd_small, odd_proxy, odd_headers, odd_rerun, odd_limit, odd_costs, odd_samples, odd_schemas, odd_errors, odd_moderation, odd_templates, odd_record]
