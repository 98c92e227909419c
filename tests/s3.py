#!/usr/bin/env python3
"""Reads from buckets and writes into them, against a real server (SeaweedFS, in a virtual environment under the cache).

usage: tests/s3.py [NAME…]        only tests whose names hold one of these
"""

import gzip
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "servers"))

import s3
from common import CACHE, DFLOW, Tally, environment, needs_dflow, refused
from crash import no_core

STEPS = ["begun", "synced", "uploaded", "prepared", "published", "done", "manifest", "complete", "cleaned", "removed", "ended"]
POINTS = [f"{side}-{step}" for step in STEPS for side in ("before", "after")] + ["amid-published"]
KEYS = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET}


class Ground:
    """A folder with a pipeline that knows a bucket as `lake`."""

    def __init__(self, server, parent, name):
        self.server, self.name = server, name
        self.folder = Path(parent) / name
        self.folder.mkdir()

    def volume(self, url=None, **more):
        more = {"endpoint": self.server.endpoint, "region": s3.REGION, "allow_http": True} | more
        keys = {"url": url or f"s3://{s3.BUCKET}/{self.name}"} | {k: v for k, v in more.items() if v is not None}
        return "[volume.lake]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())

    def pipeline(self, text, volume=None, file="pipeline.toml"):
        (self.folder / file).write_text((self.volume() if volume is None else volume) + text)

    def command(self, *arguments):
        return [str(DFLOW), *map(str, arguments)]

    def run(self, *arguments, command="run", **more):
        """Runs a command; gives exit code, stdout and stderr."""
        done = subprocess.run(self.command(command, *arguments), cwd=self.folder, env=environment(**(KEYS | more)), capture_output=True, text=True, preexec_fn=no_core, timeout=120)
        assert "panicked" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def good(self, *arguments, code=0, **more):
        """Runs the pipeline, which must end so; gives its report."""
        found, out, err = self.run("--json", *arguments, **more)
        assert found == code, f"it ended with {found}:\n{out[-3000:]}\n{err}"
        return json.loads(out.splitlines()[-1])["report"]

    def refused(self, code, *words, command="run", **more):
        """Runs a command that must end so, and say these words on stderr."""
        refused(self.run(command=command, **more), code, *words)

    def put(self, key, content):
        self.server.put(f"{self.name}/{key}", content if isinstance(content, bytes) else content.encode())

    def get(self, key):
        return self.server.get(f"{self.name}/{key}")

    def keys(self, below=""):
        return [key[len(self.name) + 1 :] for key in self.server.keys(f"{self.name}/{below}")]

    def manifest(self, folder):
        return json.loads(self.get(f"{folder}_manifest.json"))

    def rows(self, folder):
        """The lines of the objects that a manifest names; no others may be there."""
        manifest = self.manifest(folder)
        names = [file["key"] for file in manifest["files"]]
        assert sorted([f"{folder}{name}" for name in names] + [f"{folder}_manifest.json"]) == self.keys(folder), self.keys(folder)
        lines = []
        for file in manifest["files"]:
            content = self.get(folder + file["key"])
            assert file["bytes"] == len(content) and file["etag"], file
            lines += content.decode().splitlines()
        return sorted(lines)

    def nothing_left(self):
        left = [p for p in (self.folder / ".dflow").rglob("*") if p.is_dir() and p.name in ("uploads", "parts") or p.name.endswith(".tmp")]
        assert not left, left
        assert not self.server.uploads(), self.server.uploads()


FORMATS = {
    "parquet": '[stage.rows]\nread = "lake://in/parquet/*.parquet"\n[stage.high]\nfrom = "rows"\nfilter = "n > 4"\n[stage.show]\nfrom = "high"\nwrite = "-"\ncolumns = { id = "__id__", n = "n", text = "text" }\n',
    "jsonl.zst": '[stage.rows]\nread = "lake://in/jsonl/**/*.jsonl.zst"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n',
    "csv.gz": '[stage.rows]\nread = "lake://in/csv/"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n',
    "arrow": '[stage.rows]\nread = "lake://in/arrow/rows.arrow"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n',
    "html": '[stage.rows]\nread = "lake://in/html/{a,ü b}*.html"\n[stage.text]\nfrom = "rows"\nuse = "html/text"\nin = { html = "content" }\n[stage.show]\nfrom = "rows"\nwrite = "-"\ncolumns = { uri = "uri", size = "size", content = "content", id = "__id__" }\n',
    "lines": '[stage.rows]\nread = "lake://in/html/*.html"\nformat = "text"\nas = "line"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n',
    "blob": '[stage.rows]\nread = "lake://in/html/"\nformat = "blob"\n[stage.show]\nfrom = "rows"\nwrite = "-"\ncolumns = { uri = "uri", hash = "sha256(content)" }\n',
    "open": '[stage.names]\nvalues = [{ uri = "lake://in/html/a.html" }, { uri = "lake://in/html/ü b.html" }]\n[stage.pages]\nfrom = "names"\nopen = "uri"\n[stage.show]\nfrom = "pages"\nwrite = "-"\ncolumns = { uri = "uri", size = "size", content = "content", media_type = "media_type" }\n',
    "folders": '[stage.rows]\nread = "lake://in/parts/**/*.jsonl"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n',
}


def inputs(ground):
    """Files of each format, here and in the bucket."""
    rows = "[stage.rows]\nvalues = [" + ", ".join(f'{{ n = {n}, text = "row {n}" }}' for n in range(10)) + "]\n"
    sinks = {"parquet/one": "in/parquet/one.parquet", "jsonl": "in/jsonl/deep/rows.jsonl.zst", "csv": "in/csv/rows.csv.gz", "arrow": "in/arrow/rows.arrow"}
    text = rows + "".join(f'[stage.w{i}]\nfrom = "rows"\nwrite = "{path}"\n' for i, path in enumerate(sinks.values()))
    ground.pipeline(text, volume="")
    ground.good()
    source = ground.folder / "in"
    shutil.copy(source / "parquet/one.parquet", source / "parquet/two.parquet")
    (source / "html").mkdir()
    (source / "html/a.html").write_text("<p>Hällo</p>\n<p>two</p>\n")
    (source / "html/ü b.html").write_text("<p>odd name</p>")
    (source / "html/.hidden.html").write_text("hidden")
    for lang in ("de", "en"):
        (source / f"parts/lang={lang}").mkdir(parents=True)
        (source / f"parts/lang={lang}/x.jsonl").write_text('{"a":1}\n')
    for path in source.rglob("*"):
        if path.is_file():
            ground.put(str(path.relative_to(ground.folder)), path.read_bytes())


def reads_as_folders_do(ground):
    inputs(ground)
    for name, text in FORMATS.items():
        ground.pipeline(text, volume='[volume.lake]\nurl = "."\n')
        code, here, err = ground.run("--state", "here")
        assert code == 0 and here, f"{name}: {err}"
        ground.pipeline(text)
        code, there, err = ground.run("--state", "there")
        assert code == 0 and there == here, f"{name} differs ({code}):\n{here}\n{there}\n{err}"
    # The whole URL names the object, too.
    ground.pipeline(FORMATS["open"].replace("lake://in", f"s3://{s3.BUCKET}/{ground.name}/in").replace('"uri", size', '"size", size'))
    code, out, err = ground.run()
    assert code == 0 and "odd name" in out, err


def tells_what_is_not_there(ground):
    ground.put("in/a.jsonl", '{"a":1}\n')
    ground.put("in/b.jsonl", '{"a":2}\n')
    for path, words in [
        ("lake://in/*.csv", ["`lake://in/*.csv` matches no object", "there are 2, such as `lake://in/a.jsonl`"]),
        ("lake://in/c.jsonl", ["no such object `lake://in/c.jsonl`"]),
        ("lake://up/", ["there is no object under `lake://up/`", f"the volume `lake` is `s3://{s3.BUCKET}/"]),
    ]:
        ground.pipeline(f'[stage.rows]\nread = "{path}"\nformat = "jsonl"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n')
        ground.refused(6, *words)
    ground.pipeline('[stage.names]\nvalues = [{ uri = "lake://in/c.jsonl" }]\n[stage.pages]\nfrom = "names"\nopen = "uri"\n[stage.show]\nfrom = "pages"\nwrite = "-"\n')
    ground.refused(4, "can't read `lake://in/c.jsonl`: there is no such object")


READS = '[stage.rows]\nread = "lake://in/*.jsonl"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n'
WRITES = '[stage.rows]\nvalues = [{ a = 1 }]\n[stage.out]\nfrom = "rows"\nwrite = "lake://out/"\nformat = "jsonl"\n'


def says_whose_fault_it_is(ground):
    ground.put("in/a.jsonl", '{"a":1}\n')
    dead = s3.free_ports(1)[0]
    for text in (READS, WRITES):
        for volume, more, words in [
            ({}, {"AWS_SECRET_ACCESS_KEY": "wrong"}, ["the secret of the key is wrong", "`AWS_SECRET_ACCESS_KEY`"]),
            ({}, {"AWS_ACCESS_KEY_ID": "wrong"}, ["the server doesn't know the key", "`AWS_ACCESS_KEY_ID`"]),
            ({"key_env": "MY_KEY", "secret_env": "MY_SECRET"}, {"MY_KEY": "dflow", "MY_SECRET": "wrong"}, ["`MY_SECRET`"]),
            ({}, {"AWS_ACCESS_KEY_ID": ""}, ["the environment variable `AWS_ACCESS_KEY_ID` isn't set", "`anonymous = true`"]),
            ({"anonymous": True}, {}, ["access is denied", "anonymous"]),
            ({"url": "s3://nobodys/x"}, {}, ["there is no bucket `nobodys`", "look at the `url` of `[volume.lake]`"]),
            ({"endpoint": f"http://127.0.0.1:{dead}"}, {}, [f"`http://127.0.0.1:{dead}` can't be reached", "refused"]),
        ]:
            ground.pipeline(text, volume=ground.volume(**volume))
            ground.refused(6, *words, **more)
        ground.pipeline(text, volume=ground.volume(endpoint=None, allow_http=None, region=None))
        ground.refused(6, "isn't encrypted", "allow_http", AWS_ENDPOINT_URL=ground.server.endpoint)
        ground.pipeline(text, volume=ground.volume(endpoint=None, region=None))
        assert ground.run(AWS_ENDPOINT_URL=ground.server.endpoint, AWS_REGION=s3.REGION)[0] == 0
    # A volume that nobody uses needs no key.
    ground.pipeline('[stage.rows]\nvalues = [{ a = 1 }]\n[stage.show]\nfrom = "rows"\nwrite = "-"\n')
    assert ground.run(AWS_ACCESS_KEY_ID="")[1] == '{"a":1}\n'


def refuses_at_check_what_does_not_fit(ground):
    for more, words in [
        ('write = "lake://out/"\nformat = "jsonl"\nmode = "merge"\nkey = ["a"]', "what is merged can't be written into a bucket"),
        ('write = "lake://out/"\nformat = "jsonl"\npartition_by = ["a"]', "folders of values can't be written into a bucket"),
        ('write = "lake://out/{{ a }}.txt"\ncolumn = "a"', "files named by their rows can't be written into a bucket"),
    ]:
        ground.pipeline(f'[stage.rows]\nvalues = [{{ a = "x", b = 1 }}]\n[stage.out]\nfrom = "rows"\n{more}\n')
        ground.refused(3, words, command="check")


LINES = '[stage.lines]\nread = "in/*.txt"\nas = "line"\n[stage.out]\nfrom = "lines"\nwrite = "lake://out/"\nformat = "jsonl"\ncolumns = { line = "line" }\n'


def texts(ground, count, lines=5):
    (ground.folder / "in").mkdir()
    for i in range(count):
        (ground.folder / f"in/{i}.txt").write_text("".join(f"{ground.name} {i} {j}\n" for j in range(lines)))


def expected(ground):
    lines = [line for path in (ground.folder / "in").glob("*.txt") for line in path.read_text().splitlines()]
    return sorted(json.dumps({"line": line}, separators=(",", ":")) for line in lines)


def updates_its_own_output(ground):
    texts(ground, 4)
    ground.pipeline(LINES)
    report = ground.good("--task-bytes", "1B")
    assert report["reused"]["tasks"] == 0 and report["outputs"][0]["path"].startswith("lake://out/out-"), report
    first = ground.manifest("out/")
    assert ground.rows("out/") == expected(ground)
    assert [first[key] for key in ("format", "version", "generation", "sink", "run")] == ["dflow", 1, 1, "out", report["run"]], first
    assert sum(file["rows"] for file in first["files"]) == 20
    # Nothing has changed: nothing is done, and nothing written.
    report = ground.good("--task-bytes", "1B")
    assert report["reused"]["tasks"] == report["tasks"] + report["reused"]["tasks"] > 1, report
    assert ground.manifest("out/") == first
    # What changed is made anew, and the rest stays.
    (ground.folder / "in/1.txt").write_text("changed\n")
    report = ground.good("--task-bytes", "1B")
    second = ground.manifest("out/")
    assert report["tasks"] == 1 and report["reused"]["tasks"] >= 1 and ground.rows("out/") == expected(ground)
    assert {stage["rows_in"] - stage["reused"] for stage in report["stages"] if stage["stage"] == "out"} == {1}, report["stages"]
    assert second["generation"] == 2 and {f["key"] for f in first["files"]} & {f["key"] for f in second["files"]}
    # An object that somebody removed is made again.
    ground.server.remove(f"{ground.name}/out/{second['files'][0]['key']}")
    ground.good("--task-bytes", "1B")
    assert ground.rows("out/") == expected(ground)
    ground.good("--fresh")
    assert ground.rows("out/") == expected(ground)
    ground.nothing_left()


def copies_what_stays(ground):
    """Of a task with several files one changes: the rows of the others are copied out of what is in the bucket."""
    texts(ground, 4)
    folder, one = '"lake://out/"\nformat = "jsonl"', '"lake://one.csv.gz"'
    ground.pipeline(LINES + LINES[LINES.index("[stage.out]") :].replace("[stage.out]", "[stage.one]").replace(folder, one))
    assert ground.good()["tasks"] == 1
    for change in (lambda path: path.write_text("changed\n"), lambda path: path.unlink(), lambda path: path.write_text("back\n")):
        change(ground.folder / "in/1.txt")
        report = ground.good()
        done = {stage["stage"]: stage["rows_in"] - stage["reused"] for stage in report["stages"]}
        there = (ground.folder / "in/1.txt").exists()
        assert done == {"lines": int(there), "out": int(there), "one": int(there)}, report["stages"]
        assert ground.rows("out/") == expected(ground)
        lines = gzip.decompress(ground.get("one.csv.gz")).decode().splitlines()
        assert lines[0] == "line" and sorted(lines[1:]) == sorted(json.loads(row)["line"] for row in expected(ground)), lines
    ground.nothing_left()


def reads_only_what_a_manifest_names(ground):
    texts(ground, 2)
    ground.pipeline(LINES)
    ground.good()
    ground.put("out/stray.jsonl", '{"line":"stray"}\n')
    ground.put("out/sub/below.jsonl", '{"line":"below"}\n')
    ground.put("other/plain.jsonl", '{"line":"plain"}\n')
    for path, stray in [("lake://out/", False), ("lake://out/*.jsonl", False), ("lake://out/**/*.jsonl", False), ("lake://out/o*", False), ("lake://out/s*.jsonl", None), ("lake://out/stray.jsonl", True), ("lake://**/*.jsonl", False)]:
        ground.pipeline(f'[stage.rows]\nread = "{path}"\nformat = "jsonl"\n[stage.show]\nfrom = "rows"\nwrite = "-"\n', file="read.toml")
        code, out, err = ground.run("read.toml", "--state", "read")
        if stray is None:
            assert code == 6 and "matches no object" in err, out
            continue
        assert code == 0, err
        assert ("stray" in out) == stray and "below" not in out and ("plain" in out) == (path == "lake://**/*.jsonl"), f"{path}: {out}"
        assert stray or len(out.splitlines()) == 10 + ("**/*" in path and "lake://**" in path), f"{path}: {out}"


def modes(ground):
    texts(ground, 1)
    ground.put("out/others.jsonl", '{"line":"others"}\n')
    ground.pipeline(LINES)
    ground.refused(3, "holds 1 file that this pipeline didn't write", "lake://out/others.jsonl")
    ground.pipeline(LINES + 'mode = "append"\n')
    ground.good()
    both = sorted(expected(ground) + ['{"line":"others"}'])
    assert ground.rows("out/") == both
    assert [file["rows"] for file in ground.manifest("out/")["files"]] == [None, 5] or [5, None]
    # Its own rows are updated, those of others stay.
    (ground.folder / "in/0.txt").write_text("new\n")
    ground.good()
    assert ground.rows("out/") == ['{"line":"new"}', '{"line":"others"}']
    ground.pipeline(LINES + 'mode = "replace"\n')
    ground.good()
    assert ground.rows("out/") == ['{"line":"new"}']
    # No rows: one object shows the columns.
    ground.pipeline(LINES + 'mode = "replace"\n[stage.none]\nfrom = "lines"\nfilter = "line = \'x\'"\n[stage.empty]\nfrom = "none"\nwrite = "lake://empty/"\nformat = "csv"\n')
    ground.good()
    assert ground.rows("empty/") == ["uri,line_number,line"], ground.rows("empty/")
    ground.put("foreign/_manifest.json", "{}")
    ground.pipeline(LINES.replace("lake://out/", "lake://foreign/") + 'mode = "append"\n')
    ground.refused(6, "`lake://foreign/_manifest.json` is no manifest of dflow's")
    ground.nothing_left()


def single_files(ground):
    texts(ground, 3)
    one = LINES.replace('"lake://out/"\nformat = "jsonl"', '"lake://one.jsonl"')
    ground.pipeline(one)
    report = ground.good("--task-bytes", "1B")
    assert sorted(ground.get("one.jsonl").decode().splitlines()) == expected(ground) and ground.keys() == ["one.jsonl"]
    assert report["outputs"][0]["path"] == "lake://one.jsonl", report
    assert ground.good("--task-bytes", "1B")["tasks"] == 0
    (ground.folder / "in/1.txt").write_text("changed\n")
    ground.good()
    assert sorted(ground.get("one.jsonl").decode().splitlines()) == expected(ground)
    ground.put("one.jsonl", "others\n")
    (ground.folder / "in/1.txt").write_text("changed again, and longer than before\n")
    ground.pipeline(one.replace("one.jsonl", "two.csv.gz"))
    ground.put("two.csv.gz", "others")
    ground.refused(3, "holds 1 file that this pipeline didn't write", "lake://two.csv.gz")
    ground.pipeline(one.replace("one.jsonl", "two.csv.gz") + 'mode = "replace"\n')
    ground.good()
    assert ground.get("two.csv.gz")[:2] == b"\x1f\x8b"
    ground.pipeline(one.replace("one.jsonl", "new.jsonl"))
    ground.good("--first", "1")
    assert ground.keys() == ["one.jsonl", "two.csv.gz"]
    ground.nothing_left()


def large_files_go_in_parts(ground):
    (ground.folder / "in").mkdir()
    (ground.folder / "in/a.txt").write_text("".join(f"{i:0100d}\n" for i in range(300_000)))
    ground.pipeline(LINES + LINES.split("columns")[0].split("\n", 3)[3].replace("[stage.out]", "[stage.one]").replace('"lake://out/"\nformat = "jsonl"', '"lake://one.jsonl"') + 'columns = { line = "line" }\n')
    ground.good("--workers", "1", "--task-bytes", "1GB")
    assert ground.rows("out/") == expected(ground) and len(ground.get("one.jsonl")) == 300_000 * 112
    ground.nothing_left()


def outcome(ground):
    found = (ground.rows("out/"), sorted(ground.get("one.jsonl").decode().splitlines()))
    ground.nothing_left()
    return found


def resumes(ground):
    texts(ground, 12)
    both = LINES + '[stage.one]\nfrom = "lines"\nwrite = "lake://one.jsonl"\ncolumns = { line = "line" }\n'
    ground.pipeline(both)
    options = ("--task-bytes", "1B", "--workers", "2")
    ran = 0
    for point in POINTS:
        for when in (1, 2):
            shutil.rmtree(ground.folder / ".dflow", ignore_errors=True)
            ground.server.clear(f"{ground.name}/")
            (ground.folder / "in/1.txt").write_text("first\n")
            ground.good(*options)
            before = ground.manifest("out/")
            (ground.folder / "in/1.txt").write_text("second\n")
            code, _, err = ground.run("--crash-at", f"{point}:{when}", *options)
            if code != -signal.SIGABRT:
                assert when > 1, f"`{point}` was never reached: {code} {err}"
                continue
            ran += 1
            # Who reads meanwhile sees what was there, or what is new, whole.
            seen = ground.manifest("out/")
            keys = ground.keys("out/")
            assert all(f"out/{file['key']}" in keys for file in seen["files"]), f"{point}: {seen} {keys}"
            assert seen == before or seen["generation"] == 2
            ground.good(*options)
            assert outcome(ground) == (expected(ground), expected(ground)), f"after {point}:{when}"
    assert ran > len(POINTS), ran


def resumes_what_was_killed(ground):
    texts(ground, 60, lines=200)
    ground.pipeline(LINES)
    reused = 0
    for after in (0.15, 0.3, 0.5, 0.8):
        process = subprocess.Popen(ground.command("run", "--task-bytes", "1B", "--workers", "2"), cwd=ground.folder, env=environment(**KEYS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    report = ground.good("--task-bytes", "1B")
    assert ground.rows("out/") == expected(ground)
    ground.nothing_left()
    return reused + report["reused"]["tasks"]


def one_of_two_wins(ground):
    """Two pipelines write to one place; the one that looked first is held until the other is done."""
    other = Ground(ground.server, ground.folder, "other")
    for one in (ground, other):
        texts(one, 40)
        one.pipeline(LINES + 'mode = "append"\n', volume=ground.volume())
    # From the first manifest on, what isn't in one doesn't count.
    ground.good()
    before = ground.keys("out/")
    for path in (ground.folder / "in").glob("*.txt"):
        path.write_text(f"anew {path.name}\n")
    slow = subprocess.Popen(ground.command("run", "--task-bytes", "1B", "--workers", "1"), cwd=ground.folder, env=environment(**KEYS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while slow.poll() is None and ground.keys("out/") == before:
        time.sleep(0.005)
    slow.send_signal(signal.SIGSTOP)
    assert ground.manifest("out/")["generation"] == 1, "it was too quick to be held"
    try:
        other.good()
    finally:
        slow.send_signal(signal.SIGCONT)
    _, err = slow.communicate(timeout=60)
    assert slow.returncode == 6 and "`lake://out/_manifest.json` was written by another while this run went on" in " ".join(err.split()), err
    named = {file["key"] for file in ground.manifest("out/")["files"]}
    assert sum(file["rows"] for file in ground.manifest("out/")["files"]) == 400 and all(f"out/{key}" in ground.keys("out/") for key in named)
    # What it has made is kept: it only has to be said.
    report = ground.good("--task-bytes", "1B")
    assert report["tasks"] == 0 and report["reused"]["tasks"] > 1, report
    assert ground.rows("out/") == sorted(expected(ground) + expected(other))


def single_files_are_not_overwritten(ground):
    """As above, with one object and no manifest."""
    texts(ground, 40)
    ground.pipeline(LINES.replace('"lake://out/"\nformat = "jsonl"', '"lake://one.jsonl"'))
    slow = subprocess.Popen(ground.command("run", "--task-bytes", "1B", "--workers", "1"), cwd=ground.folder, env=environment(**KEYS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while slow.poll() is None and not list((ground.folder / ".dflow").glob("parts/*/*/*.jsonl")):
        time.sleep(0.002)
    slow.send_signal(signal.SIGSTOP)
    held = not ground.keys()
    ground.put("one.jsonl", "others\n")
    slow.send_signal(signal.SIGCONT)
    _, err = slow.communicate(timeout=60)
    assert held, "it was too quick to be held"
    assert slow.returncode == 6 and "`lake://one.jsonl` was written by another" in " ".join(err.split()), err
    assert ground.get("one.jsonl") == b"others\n"
    ground.refused(3, "that this pipeline didn't write")
    assert ground.get("one.jsonl") == b"others\n"
    ground.server.clear(f"{ground.name}/")
    ground.good()
    assert sorted(ground.get("one.jsonl").decode().splitlines()) == expected(ground)


TESTS = [
    reads_as_folders_do,
    tells_what_is_not_there,
    says_whose_fault_it_is,
    refuses_at_check_what_does_not_fit,
    updates_its_own_output,
    copies_what_stays,
    reads_only_what_a_manifest_names,
    modes,
    single_files,
    large_files_go_in_parts,
    resumes,
    resumes_what_was_killed,
    one_of_two_wins,
    single_files_are_not_overwritten,
]


def main():
    needs_dflow()
    wanted = sys.argv[1:]
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="dflow-s3-") as parent:
        data = Path(parent) / "data"
        data.mkdir()
        with s3.Server(CACHE, data) as server:
            for test in TESTS:
                name = test.__name__.replace("_", "-")
                if not wanted or any(part in name for part in wanted):
                    tally.test(f"s3 {name}", lambda: test(Ground(server, parent, name)))
    tally.finish()


if __name__ == "__main__":
    main()
