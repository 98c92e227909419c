"""A run of a million rows that was cut short when 90 % were done, gone on with; and what the journal takes of a run."""

import json
import random
import shutil
import statistics
from pathlib import Path

import measured
from engines import BENCH, DFLOW, HERE, component, dflow, surroundings
from inputs import SEED, made, pages
from race import Contender, Report, race

FILES, EACH = 200, 5_000
SHARE, JOURNAL = 0.15, 0.03


def rows(files, each):
    def make(folder):
        chance = random.Random(SEED)
        words = [f"{chance.choice('bcdfglmnprst')}{chance.choice('aeiou')}{chance.choice('lmnrst')}{n % 17}" for n in range(5000)]
        for number in range(files):
            with open(folder / f"{number:04}.jsonl", "w") as file:
                for row in range(each):
                    text = ". ".join(" ".join(chance.choices(words, k=12)) for _ in range(4))
                    file.write(json.dumps({"title": f"row {row} of {number}", "text": text}) + "\n")
        return {"rows": files * each, "bytes": sum(path.stat().st_size for path in folder.iterdir())}

    return made(f"resume-{files}-{each}", make, files=files, each=each)


def last(sample):
    """The report at the end of a run's events."""
    return json.loads(sample.stdout.splitlines()[-1])["report"]


def run(options):
    report = Report("resume")
    files, each = (20, 500) if options.small else (FILES, EACH)
    folder, size = rows(files, each)
    out = BENCH / "out/resume"
    parameters = ["-p", f"rows={folder}/", "-p", f"out={out}/rows/"]
    command = [DFLOW, "run", HERE / "resume/pipeline.toml", "--json", "--state", out / "state", "--task-bytes", "2MB", *parameters]
    whole = Contender("all of it", command, out / "rows", [out / "state"])
    rest = Contender("the last tenth", command, out / "rows", [out / "state"])
    shares = []
    for _ in range(options.rounds + 1):
        sample = whole.run()
        if not sample.ok:
            report.check("dflow runs", False, sample.last_words())
            return report
        whole.samples.append(sample)
        tasks = last(sample)["tasks"]
        rest.clear()
        measured.run([*command, "--crash-at", f"before-prepared:{tasks * 9 // 10 + 1}"], env=surroundings())
        rest.samples.append(measured.run(command, env=surroundings()))
        shares.append(rest.samples[-1].seconds / sample.seconds)
    found = last(rest.samples[-1])
    report.check("nine tenths were done", 0.85 < found["reused"]["tasks"] / tasks < 0.95, f"{found['reused']['tasks']} of {tasks} tasks")
    read = next(stage["rows_out"] for stage in found["stages"] if stage["stage"] == "rows")
    report.check("all rows are there", read == size["rows"], f"{read:,} of {size['rows']:,}")
    del whole.samples[0], rest.samples[0], shares[0]
    report.table(f"{size['rows']:,} rows, {size['bytes'] / 1e6:,.0f} MB, {tasks} tasks", [whole, rest], size=size["bytes"])
    share = statistics.median(shares)
    report.target(f"the last tenth takes {SHARE:.0%} of the time at most", share <= SHARE, f"{share:.1%}")
    journal(report, options, out)
    return report


def journal(report, options, out):
    """What the journal takes of the main job: its processor time as a part of all, and the time on disk beside one in memory, where to be written costs nothing."""
    folder, size = pages(600 if options.small else 6000)
    component("validator")
    memory = Path("/dev/shm/dflow-resume")
    states = {"journal on disk": out / "state", "journal in memory": memory}
    contenders = [Contender(name, dflow("pages/pipeline.toml", state, pages=folder, out=f"{out}/pages/"), out / "pages", [state]) for name, state in states.items()]
    if len(race(contenders, options.rounds * 4)) < 2:
        report.check("pages run", False, contenders[0].failed or contenders[1].failed)
        return
    report.table(f"{size['files']:,} pages", contenders, first="journal in memory", size=size["bytes"])
    synced = contenders[0].median() / contenders[1].median() - 1
    found = [last(sample) for sample in contenders[0].samples]
    cpu = statistics.median(one["journal_seconds"] for one in found) / contenders[0].median("cpu")
    report.target(f"the journal takes {JOURNAL:.0%} at most", max(cpu, synced) <= JOURNAL, f"{cpu:.1%} of processor time; on disk {synced:+.1%} of the time in memory")
    shutil.rmtree(memory, ignore_errors=True)
