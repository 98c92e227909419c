#!/usr/bin/env python3
"""The author's kit: `dflow-host plugin new`, `build`, `test`, `bench`, `verify` and `diff`, as somebody with nothing but the binary uses them.

usage: tests/kit.py [--quick]

--quick leaves out plugins in Rust and JavaScript, which take long to build.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import CACHE, DFLOW, ROOT, TARGET, Tally, environment, needs_dflow, refused

LANGUAGES = ["python"] if "--quick" in sys.argv else ["python", "js", "rust"]
# Their cases say with which settings operators open; interpreters' are source texts.
SHIPPED = {"text": "plugins/text/cases", "html": "plugins/html/cases", "json": "plugins/json/cases", "archive": "plugins/archive/cases", "python": "sdk/python/tests/cases", "js": "sdk/js/tests/cases"}


def host(*arguments, cwd, **more):
    """Runs the binary: exit code, stdout, stderr."""
    # What is installed for a language stays in the cache; compiled code is the tests' own.
    more = {"XDG_CACHE_HOME": CACHE, "CARGO_TARGET_DIR": TARGET} | {key: os.environ[key] for key in ("CARGO_HOME", "RUSTUP_HOME") if key in os.environ} | more
    done = subprocess.run([DFLOW, *map(str, arguments)], cwd=cwd, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def right(ended, *words):
    """That a command went well, and printed these words; what it printed."""
    code, out, err = ended
    assert code == 0, f"it ended with {code}:\n{out}\n{err}"
    for word in words:
        assert word in out, f"`{word}` isn't in:\n{out}"
    return out


def checks(document, operator):
    """What came of each check of an operator."""
    [found] = [each for each in document["operators"] if each["name"] == operator]
    return {check["name"]: check for check in found["checks"]}


class Plugins:
    """Tests in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder

    def a_new_one(self, language):
        """From nothing to rows: three commands."""
        folder, name = self.folder, f"my_{language}"
        right(host("plugin", "new", name, "--lang", language, cwd=folder), f"made `{name}/`")
        project = folder / name
        right(host("plugin", "test", cwd=project), "ok     words.json")
        assert (project / f"{name}.wasm").exists()
        rows = right(host("eval", "How many words are these?", "--json", cwd=project))
        assert json.loads(rows)["words"] == 5, rows
        right(host("plugin", "verify", cwd=project), f"{name}/words")
        [measured] = json.loads(right(host("plugin", "bench", "--json", cwd=project)))["operators"]
        assert measured["rows_per_second"] > 0 and (measured["native_rows_per_second"] is not None) == (language == "rust"), measured

    def the_same_from_all(self):
        """The operators of `plugin new` are one in all languages: the same answers to the cases, and no difference that pipelines see."""
        first, *others = [self.folder / f"my_{language}" / f"my_{language}.wasm" for language in LANGUAGES]
        for other in others:
            found = json.loads(right(host("plugin", "diff", first, other, "--json", cwd=self.folder)))["differences"]
            # Types of whole numbers are said more exactly by Rust, and by its bounds.
            strange = [each for each in found if each["what"] not in ("name", "imports") and not each["what"].startswith("settings")]
            assert not strange, strange

    def cases_are_blessed_and_fail(self):
        project = self.folder / "my_python"
        case = project / "cases/words.json"
        good = case.read_text()
        case.write_text(good.replace('"words": 3', '"words": 4', 1))
        code, out, err = host("plugin", "test", cwd=project)
        assert code == 5 and "FAILED words.json" in out and '"words": 4' in out and '"words": 3' in out, (code, out, err)
        right(host("plugin", "test", "--bless", cwd=project))
        assert json.loads(case.read_text()) == json.loads(good), case.read_text()
        case.write_text("{")
        code, out, _ = host("plugin", "test", cwd=project)
        assert code == 5 and "is not a case" in out, out
        case.write_text(good)

    def what_is_wrong_is_named(self):
        folder = self.folder
        refused(host("plugin", "new", "My-Words", "--lang", "js", cwd=folder), 6, "`My-Words` can't be a plugin's name")
        refused(host("plugin", "new", "my_python", "--lang", "python", cwd=folder), 6, "is there already")
        refused(host("plugin", "new", "text", "--lang", "js", cwd=folder), 6, "`text` ships with dflow", "my_text")
        refused(host("plugin", "new", "x", cwd=folder), 2, "--lang")
        empty = folder / "empty"
        empty.mkdir()
        refused(host("plugin", "build", cwd=empty), 6, "is no plugin's folder", "plugin new")
        refused(host("plugin", "build", "nowhere", cwd=folder), 6, "nowhere` can't be read")
        refused(host("plugin", "verify", "no.wasm", cwd=folder), 6, "no.wasm")
        (folder / "text.wasm").write_text("no component")
        refused(host("plugin", "verify", "text.wasm", cwd=folder), 5, "is not a WebAssembly component")
        refused(host("plugin", "bench", "text", cwd=folder), 2, "--cases")
        refused(host("plugin", "bench", "text", "--cases", empty, cwd=folder), 6, "no case with rows")
        project = folder / "my_python"
        source = project / "my_python.py"
        good = source.read_text()
        source.write_text(good.replace("def process(self", "def process(self:"))
        refused(host("plugin", "build", cwd=project), 5, "SyntaxError", "my_python.py")
        source.write_text(good)
        # Without the tool that a language needs, it is named.
        bare = folder / "bin"
        bare.mkdir()
        refused(host("plugin", "build", cwd=project, PATH=bare), 6, "`python3` can't be run")
        if "rust" in LANGUAGES:
            refused(host("plugin", "build", cwd=folder / "my_rust", PATH=bare), 6, "`cargo` can't be run")
        if "js" in LANGUAGES:
            refused(host("plugin", "build", cwd=folder / "my_js", PATH=bare), 6, "`node` can't be run")

    def settings_past_their_schema(self):
        """What an operator doesn't look at itself, the host holds against its schema."""
        project = self.folder / "my_python"
        pipeline = project / "wrong.toml"
        for value, why in [("-1", "less than the minimum of 0"), ('"few"', "is not of type")]:
            pipeline.write_text((project / "pipeline.toml").read_text() + f"\n[stage.counted.with]\nleast = {value}\n")
            refused(host("check", "wrong.toml", cwd=project), 3, "doesn't accept its settings", why)

    def a_full_disk(self):
        """Nothing half made stays where it can be taken for whole."""
        if not Path("/dev/full").exists():
            return
        project = self.folder / "my_python"
        with open("/dev/full", "w") as full:
            done = subprocess.run([DFLOW, "plugin", "verify", "--json"], cwd=project, env=environment(XDG_CACHE_HOME=CACHE), stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 6 and "can't write to stdout" in done.stderr, (done.returncode, done.stderr)

    def bad_ones_are_caught(self):
        """Each of the operators that say they are pure is found out, and the one that is isn't."""
        component = ROOT / "tests/guests/.built/unsound.wasm"
        code, out, err = host("plugin", "verify", component, "--json", cwd=self.folder)
        assert code == 5, (code, err)
        document = json.loads(out)
        assert not document["passed"]
        failed = {each["name"]: sorted(check["name"] for check in each["checks"] if check["verdict"] == "failed") for each in document["operators"]}
        assert failed["sound"] == [], failed
        assert {"fresh", "repeated", "reordered", "split"} <= set(failed["sums"]), failed
        assert "reordered" in failed["cached"] or "fresh" in failed["cached"], failed
        assert {"merged", "split"} <= set(failed["clock"]), failed
        assert "values" in failed["bytes"], failed
        assert failed["rejects"] == ["claims"], failed
        assert failed["divides"] == ["settings"], failed
        assert failed["grows"] == [], failed
        # A limit isn't a trap, and is named.
        large = checks(document, "grows")["large"]
        assert large["verdict"] == "limit" and "asked for more memory" in " ".join(large["findings"]), large
        assert any("text" in finding for finding in checks(document, "sums")["split"]["findings"]), document

    def shipped_ones_pass(self, name, cases):
        code, out, err = host("plugin", "verify", name, "--cases", ROOT / cases, cwd=self.folder)
        assert code == 0, f"{out}\n{err}"

    def differences(self):
        folder = self.folder
        code, out, err = host("plugin", "diff", "text", "text", cwd=folder)
        assert code == 0 and "the same component" in err, (out, err)
        out = right(host("plugin", "diff", ROOT / "tests/guests/.built/profiles.wasm", ROOT / "tests/guests/.built/fetch.wasm", cwd=folder))
        assert "dflow:operator/http@" in out and "operators" in out, out


def main():
    needs_dflow()
    tally = Tally()
    folder = Path(tempfile.mkdtemp(prefix="dflow-plugins-"))
    try:
        plugins = Plugins(folder)
        for language in LANGUAGES:
            tally.test(f"a new plugin in {language}", lambda: plugins.a_new_one(language))
        if len(LANGUAGES) > 1:
            tally.test("the same operator from all languages", plugins.the_same_from_all)
        tally.test("cases are blessed, and fail", plugins.cases_are_blessed_and_fail)
        tally.test("what is wrong is named", plugins.what_is_wrong_is_named)
        tally.test("settings past their schema", plugins.settings_past_their_schema)
        tally.test("a full disk", plugins.a_full_disk)
        tally.test("bad plugins are caught", plugins.bad_ones_are_caught)
        tally.test("differences of two plugins", plugins.differences)
        for name, cases in SHIPPED.items():
            tally.test(f"`{name}` passes", lambda: plugins.shipped_ones_pass(name, cases))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tally.finish()


if __name__ == "__main__":
    main()
