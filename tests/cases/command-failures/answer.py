"""Answers in a way that its argument names, without the package `dflow`."""

import os
import signal
import sys
import time

mode = sys.argv[1]
if mode == "silent at once":
    sys.exit(0)
if mode == "hang":
    print("thinking", file=sys.stderr, flush=True)
    time.sleep(60)
if mode == "garbage":
    print("loading the model …", flush=True)
if mode == "flood":
    sys.stderr.write("x" * 100_000 + "\n")
    sys.stderr.write("".join(f"line {i}\n" for i in range(200_000)))
    sys.stderr.flush()
import pyarrow as pa

reader = pa.ipc.open_stream(sys.stdin.buffer)
out = sys.stdout.buffer


writer = None
for batch in reader:
    twice = pa.array([2 * n for n in batch["n"].to_pylist()], type=pa.int64())
    if mode == "exit":
        print("nothing works today", file=sys.stderr)
        sys.exit(3)
    if mode == "error":
        raise ValueError("nothing works today")
    if mode == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    columns = {
        "columns": {"thrice": twice, "twice": twice},
        "none": {"n": batch["n"]},
        "types": {"twice": twice.cast(pa.float64())},
        "more": {"twice": pa.concat_arrays([twice, twice])},
        "parent": {"twice": twice, "__parent__": pa.array(range(len(twice)), type=pa.uint32())},
        "dictionary": {"twice": twice.dictionary_encode()},
    }.get(mode, {"twice": twice})
    schema = pa.record_batch(columns).schema
    if mode == "half":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.record_batch(columns))
        out.write(sink.getvalue().to_pybytes()[:-100])
        out.flush()
        sys.exit(0)
    writer = writer or pa.ipc.new_stream(out, schema)
    if mode == "end":
        writer.close()
        out.flush()
        time.sleep(60)
    writer.write_batch(pa.record_batch(columns))
    if mode == "twice":
        writer.write_batch(pa.record_batch(columns))
    out.flush()
