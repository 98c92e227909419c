#!/usr/bin/env python3
"""Holds `dflow-host schema` against pipelines: what is right is valid, a wrong key is not. The checker is jsonschema, in a virtual
environment under the cache."""

import copy
import datetime
import json
import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

from common import CACHE, DFLOW, ROOT, Tally, dflow, environment, needs_dflow

CHECKER = CACHE / "dflow/schema"
JSONSCHEMA = "jsonschema==4.26.0"
# Gives for each document what is wrong with it, first the most telling.
CHECK = """
import json, sys
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
schema, documents = json.load(sys.stdin)
Draft7Validator.check_schema(schema)
checker = Draft7Validator(schema)
best = [best_match(checker.iter_errors(document)) for document in documents]
print(json.dumps([error and f"{error.json_path}: {error.message}" for error in best]))
"""


def checker():
    """A Python that has jsonschema."""
    python = CHECKER / "bin/python"
    if not python.exists():
        venv.create(CHECKER, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", JSONSCHEMA], check=True)
    return python


def wrong(python, schema, documents):
    """What is wrong with each document, None when nothing is."""
    text = json.dumps([schema, documents], default=lambda value: value.isoformat() if isinstance(value, (datetime.date, datetime.datetime, datetime.time)) else str(value))
    done = subprocess.run([python, "-c", CHECK], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pipelines():
    """Every pipeline here whose text is right, by its path. Neither files nor plugins need be there to tell."""
    right = {}
    for path in sorted(p for folder in ["tests", "examples", "host/pipeline/tests"] for p in (ROOT / folder).rglob("*.toml")):
        if path.name in ("Cargo.toml", "dflow.toml") or "target" in path.parts:
            continue
        done = subprocess.run([DFLOW, "graph", path], env=environment(), capture_output=True)
        if done.returncode == 0:
            right[str(path.relative_to(ROOT))] = tomllib.loads(path.read_text())
    return right


def misspelt(document):
    """The document with one key wrong: each key that the schema knows, in turn."""
    for stage, keys in document["stage"].items():
        for key in keys:
            changed = copy.deepcopy(document)
            changed["stage"][stage][key + "x"] = changed["stage"][stage].pop(key)
            yield f"stage.{stage}.{key}x", changed
    for key in document:
        changed = copy.deepcopy(document)
        changed[key + "x"] = changed.pop(key)
        yield f"{key}x", changed


def main():
    needs_dflow()
    python = checker()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        schema = json.loads(dflow("schema", cwd=folder))
    right = pipelines()

    def right_ones_are_valid():
        assert len(right) > 50, f"only {len(right)} pipelines were found"
        found = wrong(python, schema, list(right.values()))
        bad = [f"{path}: {what}" for path, what in zip(right, found) if what]
        assert not bad, "\n".join(bad)

    def a_wrong_key_is_not():
        changed = [(f"{path}: {what}", document) for path, whole in right.items() for what, document in misspelt(whole)]
        found = wrong(python, schema, [document for _, document in changed])
        missed = [what for (what, _), error in zip(changed, found) if not error]
        assert not missed, "valid all the same:\n" + "\n".join(missed)

    def wrong_values_are_not():
        read, use = {"read": "a.csv"}, {"read": "a.csv", "x": 1}
        stages = [
            {"a": {}}, {"a": use}, {"a": {**read, "limit": 3}}, {"a": {**read, "csv": {"delimiter": 3}}}, {"a": {**read, "mode": "append"}},
            {"a": {"limit": "three", "from": "b"}}, {"a": {"use": "text", "from": "b"}}, {"a": {"write": "x/", "mode": "apend"}}, {},
        ]
        found = wrong(python, schema, [{"stage": stage} for stage in stages])
        missed = [str(stage) for stage, error in zip(stages, found) if not error]
        assert not missed, "valid all the same:\n" + "\n".join(missed)

    for test in [right_ones_are_valid, a_wrong_key_is_not, wrong_values_are_not]:
        tally.test(test.__name__.replace("_", " "), test)
    tally.finish()


if __name__ == "__main__":
    main()
