#!/usr/bin/env python3
"""How fast models are asked: prompts of 100 ms each, beside aiohttp, OpenAI's client and Daft, on the same server in the same run.

usage: tests/bench/models.py [--peers] [IN_FLIGHT…]        64, 256 and 1024 unless given; 200 prompts for each in flight

Efficiency is rows × latency ÷ in flight ÷ time, where the time is that of the whole process, its start and its end included. The processor time is that of
the client alone. How long the server took for an answer, on the average, is measured by itself.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

from common import CACHE, DFLOW, environment, needs_dflow
from model import ModelServer

LATENCY = 0.1
# Daft takes no newer client of OpenAI's.
PEERS = ["aiohttp==3.14.5", "openai==2.38.0", "daft[openai]==0.7.26"]
PYTHON = CACHE / "dflow/models/peers/bin/python"

AIOHTTP = """
import asyncio, json, sys, aiohttp
endpoint, rows, flying = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    limit = asyncio.Semaphore(flying)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def ask(i):
            body = {"model": "m", "messages": [{"role": "user", "content": f"Say something about row {i}"}]}
            async with limit:
                async with session.post(endpoint + "/chat/completions", json=body) as answer:
                    return (await answer.json())["choices"][0]["message"]["content"]
        answers = await asyncio.gather(*map(ask, range(rows)))
    assert len(answers) == rows
asyncio.run(main())
"""
OPENAI = """
import asyncio, sys, openai
endpoint, rows, flying = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def main():
    limit = asyncio.Semaphore(flying)
    client = openai.AsyncOpenAI(base_url=endpoint, api_key="k", timeout=120)
    async def ask(i):
        async with limit:
            answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"Say something about row {i}"}])
            return answer.choices[0].message.content
    assert len(await asyncio.gather(*map(ask, range(rows)))) == rows
asyncio.run(main())
"""
DAFT = """
import sys, os
os.environ["DAFT_PROGRESS_BAR"] = "0"
import daft
from daft import col
from daft.functions import prompt
endpoint, rows, flying = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
daft.set_provider("openai", api_key="k", base_url=endpoint)
frame = daft.from_pydict({"text": [f"Say something about row {i}" for i in range(rows)]})
frame = frame.with_column("answer", prompt(col("text"), model="m", provider="openai", use_chat_completions=True))
assert len(frame.to_pydict()["answer"]) == rows
"""


def measured(command, **more):
    """Seconds, and seconds on the processor, of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[-1][:160]
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def dflow(folder, endpoint, rows, flying):
    with open(folder / "rows.jsonl", "w") as file:
        file.writelines(json.dumps({"text": f"row {i}"}) + "\n" for i in range(rows))
    (folder / "pipeline.toml").write_text(f"""
[model.m]
provider = "openai"
endpoint = "{endpoint}"
model = "m"
limits = {{ in_flight = {flying} }}
[stage.rows]
read = "rows.jsonl"
[stage.asked]
from = "rows"
prompt = "Say something about {{{{ text }}}}"
[stage.out]
from = "asked"
write = "out.parquet"
""")
    return measured([str(DFLOW), "run", "--quiet"], cwd=folder, env=environment())


def peers():
    if not PYTHON.exists():
        venv.create(PYTHON.parent.parent, with_pip=True)
    # Also when an earlier install was broken off: what is there already takes a second.
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS], check=True)
    return {"aiohttp": AIOHTTP, "openai": OPENAI, "daft": DAFT}


def main():
    needs_dflow()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    arguments = [argument for argument in sys.argv[1:] if argument != "--peers"]
    programs = peers() if "--peers" in sys.argv else {}
    server = ModelServer()
    print(f"{'in flight':>9}  {'rows':>7}  {'client':<8}  {'time':>7}  {'efficiency':>10}  {'processor a request':>19}  {'an answer':>9}")
    try:
        with tempfile.TemporaryDirectory() as parent:
            for flying in map(int, arguments or (64, 256, 1024)):
                for name in ("dflow", *programs):
                    # Python's clients take minutes for as many.
                    rows = flying * (200 if name == "dflow" else 20)
                    server.control(latency=int(LATENCY * 1000))
                    if name == "dflow":
                        took, cpu = dflow(Path(tempfile.mkdtemp(dir=parent)), server.endpoint, rows, flying)
                    else:
                        took, cpu = measured([str(PYTHON), "-c", programs[name], server.endpoint, str(rows), str(flying)], env=os.environ | {"DO_NOT_TRACK": "1"})
                    if took is None:
                        print(f"{flying:>9}  {rows:>7}  {name:<8}  failed: {cpu}", flush=True)
                        continue
                    efficiency = rows * LATENCY / flying / took
                    print(f"{flying:>9}  {rows:>7}  {name:<8}  {took:>5.1f} s  {efficiency:>10.3f}  {cpu / rows * 1e6:>16.0f} µs  {server.counts()['seconds'] * 1e3:>6.1f} ms", flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
