#!/usr/bin/env python3
"""Holds the tree against what was decided: the top level, the direction of crates, and documents that repeat files."""

import json
import re
import subprocess
from pathlib import Path

from common import DFLOW, ROOT, Tally, dflow

# `cli → run → plan → operators → {wasm, io, models} → pipeline`: a room may use any further along, those in one step don't see each other.
STEPS = [["cli"], ["run", "kit"], ["plan"], ["operators"], ["wasm", "io", "models"], ["pipeline", "componentize"]]
TOP = ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "examples", "host", "plugins", "sdk", "tests", "wit"]


def edges():
    """The workspace's internal edges, as lines `from -> to`; those of tests only are marked."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    members = {package["name"] for package in metadata["packages"]}
    return sorted(
        f"{package['name']} -> {needed['name']}" + (f" ({needed['kind']})" if needed["kind"] else "")
        for package in metadata["packages"]
        for needed in package["dependencies"]
        if needed["name"] in members
    )


def edges_are_the_golden():
    expected = (ROOT / "tests/edges.txt").read_text().splitlines()
    found = edges()
    more, less = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    assert found == expected, f"new edges: {more}, edges that are gone: {less}\nif that is meant, change tests/edges.txt"


def edges_point_one_way():
    step = {f"dflow-{room}": i for i, rooms in enumerate(STEPS) for room in rooms}
    for edge in edges():
        source, needed = edge.split(" (")[0].split(" -> ")
        assert source in step and needed in step, f"`{edge}`: a room that tests/tree.py doesn't know"
        assert step[source] < step[needed], f"`{edge}` points the wrong way"


def heavy_dependencies_stay_in_their_rooms():
    """A heavy dependency enters at one room, so that those further along stay light."""
    rooms = {"wasmtime": ["wasm"], "datafusion": ["operators", "plan", "run"], "clap": ["cli"], "indicatif": ["cli"], "rusqlite": ["run"]}
    for manifest in sorted((ROOT / "host").glob("*/Cargo.toml")):
        text = manifest.read_text()
        for crate, allowed in rooms.items():
            there = re.search(rf"^{crate}\b", text, re.MULTILINE)
            assert not there or manifest.parent.name in allowed, f"`{manifest.relative_to(ROOT)}` brings `{crate}` in"


def dependencies_are_in_the_workspace_table():
    table = (ROOT / "Cargo.toml").read_text().split("[workspace.dependencies]")[1].split("\n[")[0]
    for line in filter(None, (line.strip() for line in table.splitlines())):
        plain = line.startswith(("#", "dflow-")) or "default-features = false" in line or line.startswith("async-trait")
        assert plain, f"a dependency with its defaults: {line}"
    for manifest in sorted((ROOT / "host").glob("*/Cargo.toml")):
        for section in re.findall(r"^\[(?:dev-|build-)?dependencies\]\n(.*?)(?=^\[|\Z)", manifest.read_text(), re.MULTILINE | re.DOTALL):
            for line in filter(None, (line.strip() for line in section.splitlines())):
                assert line.startswith("#") or "workspace = true" in line, f"{manifest.relative_to(ROOT)}: {line}"


def the_top_level_is_as_decided():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    paths = listed.stdout.splitlines() or [str(p.relative_to(ROOT)) for p in ROOT.iterdir()]
    visible = {path.split("/")[0] for path in paths if not path.startswith(".")}
    assert sorted(visible) == TOP, f"at the top there is {sorted(visible)}, expected {TOP}"


def rust_files_say_what_they_are():
    for path in sorted((ROOT / "host").rglob("*.rs")):
        if path.name != "build.rs":
            assert path.read_text().startswith("//!"), f"{path.relative_to(ROOT)} doesn't begin with a `//!` line"


def blocks(text, language):
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def the_readme_shows_the_quickstart():
    pipeline = (ROOT / "examples/quickstart/pipeline.toml").read_text()
    assert pipeline in blocks((ROOT / "README.md").read_text(), "toml"), "README.md doesn't show examples/quickstart/pipeline.toml as it is"


def the_readme_lists_the_shipped_operators():
    readme = (ROOT / "README.md").read_text()
    listed = set(re.findall(r"^\| `(\w+/\w+)` \|", readme, re.MULTILINE))
    shipped = set(re.findall(r"^(\w+/\w+)\b", dflow("plugin", "list", cwd=ROOT), re.MULTILINE))
    assert listed == shipped, f"README.md lists {sorted(listed)}, the host ships {sorted(shipped)}"


def a_changed_contract_has_a_changed_version():
    """What is in `wit/released/VERSION` is frozen, and what is in `wit` is that, or of a later version."""
    wit = ROOT / "wit"
    version = re.search(r"^package dflow:operator@([\d.]+);", (wit / "operator.wit").read_text(), re.MULTILINE)[1]
    number = lambda version: [int(part) for part in version.split(".")]
    released = sorted((folder.name for folder in (wit / "released").iterdir()), key=number)
    for older in released:
        own = re.search(r"^package dflow:operator@([\d.]+);", (wit / "released" / older / "operator.wit").read_text(), re.MULTILINE)[1]
        assert own == older, f"wit/released/{older} says that it is {own}"
    if version in released:
        here, frozen = ({path.name: path.read_text() for path in folder.glob("*.wit")} for folder in (wit, wit / "released" / version))
        changed = sorted(name for name in here.keys() | frozen.keys() if here.get(name) != frozen.get(name))
        assert not changed, f"{changed} of wit/ aren't those of {version}, which is released; raise the version in wit/operator.wit"
    assert number(version) >= number(released[-1]), f"wit/ is of {version}, and {released[-1]} is released"
    sdks = {"sdk/rust/src/plugin.rs", "sdk/python/dflow/operator.py", "sdk/js/src/operator.js"}
    for sdk in sdks:
        assert f'"{version}"' in (ROOT / sdk).read_text(), f"{sdk} isn't of {version}"
    abi = (ROOT / "host/wasm/src/abi.rs").read_text()
    assert f'VERSION: &str = "{version}"' in abi, f"the host doesn't speak {version}"
    # What was released is frozen: git knows of changes, where there is a git.
    changed = subprocess.run(["git", "log", "--diff-filter=MD", "--format=%h", "--", "wit/released"], cwd=ROOT, capture_output=True, text=True)
    assert not changed.stdout.strip(), f"files of wit/released were changed by {changed.stdout.split()}"


def links_lead_somewhere():
    for document in [ROOT / "README.md", *ROOT.glob("host/**/*.md"), *ROOT.glob("wit/*.md"), *ROOT.glob("sdk/**/*.md"), *ROOT.glob("examples/*/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.relative_to(ROOT)} links `{link}`, which isn't there"


def main():
    tally = Tally()
    tests = [
        edges_are_the_golden,
        edges_point_one_way,
        heavy_dependencies_stay_in_their_rooms,
        dependencies_are_in_the_workspace_table,
        the_top_level_is_as_decided,
        rust_files_say_what_they_are,
        the_readme_shows_the_quickstart,
        a_changed_contract_has_a_changed_version,
        links_lead_somewhere,
    ]
    if DFLOW.exists():
        tests.append(the_readme_lists_the_shipped_operators)
    for test in tests:
        tally.test(test.__name__.replace("_", " "), test)
    tally.finish()


if __name__ == "__main__":
    main()
