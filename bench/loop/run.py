#!/usr/bin/env python3
"""The loop against real engines: predicted before, measured after, compared, learnt from, and predicted anew.

    run.py HWLEDGER FOLDER RESULTS.jsonl --gguf MODEL.gguf --mlx DIRECTORY [--rounds 8] [--fresh 8]

Three engines in turn on this machine's processor: hwledger's own (`bench`), llama.cpp's server (llama-cpp-python) and mlx-lm's
server. `--rounds` rounds are predicted by formula; `calibrate --from-ledger` learns from them; `--fresh` more are predicted
with what was learnt. Every prediction is in the ledger before its run. Needs `pip install -r requirements.txt`.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import urllib.request

PORT = 18571


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hwledger")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--mlx", required=True)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--fresh", type=int, default=8)
    parser.add_argument("--prompt", default="64,256")
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--requests", type=int, default=3)
    arguments = parser.parse_args()
    threads = str(os.cpu_count())
    place = ["--ledger", str(arguments.folder / "ledger"), "--signer", str(arguments.folder / "signer")]
    store = str(arguments.folder / "calibration.json")

    def hwledger(*words):
        done = subprocess.run([arguments.hwledger, *words], capture_output=True, text=True)
        if done.returncode > 1:
            sys.exit(f"hwledger {' '.join(words)}: {done.stderr}")
        sys.stderr.write(done.stderr)
        return done.stdout

    hwledger("ledger", "init", *place)
    versions = {name: __import__(name).__version__ for name in ("llama_cpp", "mlx_lm")}

    def served(engine, version, command, model, name, calibration, context):
        log = arguments.folder / f"{engine}.log"
        with log.open("w") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            ready(server)
            words = ["engine", "measure", f"http://127.0.0.1:{PORT}", "--engine", engine, "--engine-version", version]
            words += ["--model", model, "--served-name", name, "--prompt", arguments.prompt, "--json"]
            words += ["--generate", str(arguments.generate), "--requests", str(arguments.requests), "--threads", threads]
            words += ["--process", str(server.pid), "--calibration", calibration, *context, *place]
            if engine == "llama.cpp":
                words += ["--log", str(log)]
            hwledger(*words)
        finally:
            server.terminate()
            server.wait()

    def one_round(calibration):
        words = ["bench", arguments.gguf, "--prompt", arguments.prompt, "--generate", str(arguments.generate), "--json"]
        hwledger(*words, "--sequences", "1,4", "--repetitions", "1", "--calibration", calibration, *place)
        python = sys.executable
        command = [python, "-m", "llama_cpp.server", "--model", arguments.gguf, "--n_ctx", "1024", "--n_threads", threads]
        command += ["--port", str(PORT)]
        served("llama.cpp", versions["llama_cpp"], command, arguments.gguf, "model", calibration, ["--context", "1024"])
        command = [python, "-m", "mlx_lm", "server", "--model", arguments.mlx, "--port", str(PORT)]
        served("mlx", versions["mlx_lm"], command, arguments.mlx, arguments.mlx, calibration, [])

    def compared(phase):
        answer = json.loads(hwledger("reconcile", "--json", *place))
        rows = [(run["engine"], row) for run in answer["runs"] for row in run["residuals"]]
        with arguments.results.open("a") as output:
            for engine, row in rows:
                output.write(json.dumps({"phase": phase, "engine": engine, **row}) + "\n")
        return rows

    arguments.results.write_text(json.dumps(machine()) + "\n")
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}, by formula", file=sys.stderr)
        one_round("none")
    before = compared("formula")
    hwledger("calibrate", "--from-ledger", "--store", store, *place)
    for number in range(arguments.fresh):
        print(f"round {number + 1} of {arguments.fresh}, by what was learnt", file=sys.stderr)
        one_round(store)
    after = compared("learnt")
    hwledger("ledger", "verify", *place)
    table(before, after)


def ready(server):
    for _ in range(600):
        if server.poll() is not None:
            sys.exit("the server ended before it answered")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/models", timeout=2)
            return
        except OSError:
            time.sleep(0.25)
    sys.exit("the server does not answer")


def machine():
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    return {"processor": cpu, "threads": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def summary(rows):
    errors = [abs(math.log(row["ratio"])) for row in rows]
    judged = [row["is_covered"] for row in rows if row["is_covered"] is not None]
    covered = f"{100 * sum(judged) / len(judged):.0f} %" if judged else "-"
    return f"{len(rows):>4} {statistics.median(errors):>8.3f} {covered:>6}"


def table(before, after):
    print(f"{'engine':<10} {'figure':<22} {'runs':>4} {'median':>8} {'within':>6}   {'runs':>4} {'median':>8} {'within':>6}")
    for engine in dict.fromkeys(engine for engine, _ in before):
        for figure in dict.fromkeys(row["figure"] for name, row in before if name == engine):
            pick = lambda rows: [row for name, row in rows if name == engine and row["figure"] == figure]
            if pick(after):
                print(f"{engine:<10} {figure:<22} {summary(pick(before))}   {summary(pick(after))}")
    speeds = lambda rows: [row for _, row in rows if not row["figure"].endswith("_bytes")]
    print(f"{'all':<10} {'speeds':<22} {summary(speeds(before))}   {summary(speeds(after))}")


main()
