"""Times llama.cpp's tools on the models of models.py; one JSON line for every run.

    measure.py PEERS MODELS RESULTS.jsonl [--minutes 60] [--only 1b-Q4_K_M,...] [--tests pp,tg,batched]
    measure.py --table RESULTS.jsonl

A machine is rarely quiet, so a run waits a while for idle processors, every line tells how busy others
kept them meanwhile (`others`, as a share of all of them), and each row is run again, the rows with the
fewest quiet runs first, until every row has some or the time is over. The table gives the best sample
of each row, which is what a quiet machine does.

Modes: `default` repacks weights (into the AMX layout where the build has it), `norepack` leaves them
as in the file, `noamx` is the build without AMX with its default repacking.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

MODES = {"default": ("native", True), "norepack": ("native", False), "noamx": ("noamx", True)}
FLASH = ("on", "off")
QUIET = 0.1
SEQUENCES = (1, 4, 8, 16)
PROMPT, GENERATED = 512, 128
BATCHED_PROMPT, BATCHED_GENERATED = 128, 32


def busy_seconds():
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _, _, interrupts, soft, steal = fields[:8]
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def run(command):
    """Its output, its peak resident bytes and the share of all processors that others used meanwhile."""
    busy, start = busy_seconds(), time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.monotonic() - start
    others = (busy_seconds() - busy - usage.ru_utime - usage.ru_stime) / (elapsed * os.cpu_count())
    if process.returncode:
        raise SystemExit(f"{process.returncode}: {' '.join(map(str, command))}")
    return output, {"peak_rss_bytes": usage.ru_maxrss * 1024, "seconds": round(elapsed, 1), "others": round(others, 3)}


def wait_until_idle(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy = busy_seconds()
        time.sleep(1)
        if busy_seconds() - busy < 0.05:
            return


def rows(task, options):
    model, mode, flash, threads, test = task
    variant, repack = MODES[mode]
    tools = options.peers / variant / "bin"
    common = ["-m", options.models / f"llama-{model.replace('-', '-random-', 1)}.gguf", "-t", threads, "-fa", flash]
    if test == "batched":
        cells = max(SEQUENCES) * (BATCHED_PROMPT + BATCHED_GENERATED)
        command = [tools / "llama-batched-bench", *common, "-c", cells, *([] if repack else ["--no-repack"])]
        command += ["-npp", BATCHED_PROMPT, "-ntg", BATCHED_GENERATED, "-npl", ",".join(map(str, SEQUENCES))]
        output, facts = run([*command, "--output-format", "jsonl"])
    else:
        sizes = (PROMPT, 0) if test == "pp" else (0, GENERATED)
        command = [tools / "llama-bench", *common, "--repack", int(repack), "-p", sizes[0], "-n", sizes[1]]
        output, facts = run([*command, "-r", options.repetitions, "-o", "jsonl"])
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        if test == "batched":
            for name, rate in (("batched-pp", "speed_pp"), ("batched-tg", "speed_tg")):
                yield {"test": f"{name}-{row['pl']}", "samples": [round(row[rate], 2)], **facts}
        else:
            yield {"test": f"{test}{sum(sizes)}", "samples": [round(rate, 2) for rate in row["samples_ts"]], **facts}


def worth(row):
    """How far a run counts as one on a quiet machine."""
    return 1 if row["others"] < QUIET else 0.4


def measure(options):
    machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    choices = [options.only, options.modes, options.flash, options.threads, options.tests]
    quiet = dict.fromkeys(itertools.product(*(choice.split(",") for choice in choices)), 0.0)
    for row in map(json.loads, open(options.results) if options.results.exists() else ()):
        test, _, sequences = row["test"].partition("-")
        if test != "batched":
            test = test[:2]
        elif sequences != f"tg-{SEQUENCES[0]}":
            continue
        task = (row["model"], row["mode"], row["flash"], str(row["threads"]), test)
        if task in quiet:
            quiet[task] += worth(row)
    end = time.monotonic() + 60 * options.minutes
    while time.monotonic() < end and min(quiet.values()) < options.runs:
        task = min(quiet, key=quiet.get)
        model, mode, flash, threads, _ = task
        version = (options.peers / MODES[mode][0] / "VERSION").read_text().splitlines()[0]
        about = {"version": version, "machine": machine, "model": model, "mode": mode, "flash": flash, "threads": int(threads)}
        wait_until_idle(options.patience)
        for row in rows(task, options):
            line = json.dumps(about | row)
            with open(options.results, "a") as results:
                print(line, file=results)
            print(line[line.index('"model"') :], flush=True)
        quiet[task] += worth(row)


def table(path):
    best, memory, noise = defaultdict(float), defaultdict(int), defaultdict(lambda: 1.0)
    for line in open(path):
        row = json.loads(line)
        key = (row["model"], row["test"], row["threads"], row["mode"], row["flash"])
        best[key] = max(best[key], *row["samples"])
        noise[key] = min(noise[key], row["others"])
        memory[row["model"], row["test"].split("-")[0], row["mode"]] = max(
            memory[row["model"], row["test"].split("-")[0], row["mode"]], row["peak_rss_bytes"]
        )
    columns = [(mode, flash) for mode in MODES for flash in FLASH]
    print("| model | test | threads | " + " | ".join(f"{mode}, fa {flash}" for mode, flash in columns) + " | best |")
    print("|---" * (4 + len(columns)) + "|")
    for model, test, threads in dict.fromkeys(key[:3] for key in best):
        cells = [best.get((model, test, threads, *column), 0) for column in columns]
        shown = [f"{cell:.1f}" + ("*" if noise[model, test, threads, *column] > QUIET else "") if cell else "" for cell, column in zip(cells, columns)]
        print(f"| {model} | {test} | {threads} | " + " | ".join(shown) + f" | **{max(cells):.1f}** |")
    print("\n`*`: others used more than a tenth of the processors in every run.\n")
    print("| model | test | mode | peak RSS, GB |\n|---|---|---|---|")
    for (model, test, mode), size in memory.items():
        print(f"| {model} | {test} | {mode} | {size / 1e9:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, nargs="?")
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--runs", type=float, default=2, help="quiet runs of each row; a noisy one counts less than half")
    parser.add_argument("--patience", type=float, default=20, help="seconds to wait for idle processors")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--only", default="1b-Q4_K_M,1b-Q8_0,3b-Q4_K_M,3b-Q8_0")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--flash", default=",".join(FLASH))
    parser.add_argument("--threads", default="2")
    parser.add_argument("--tests", default="pp,tg,batched")
    options = parser.parse_args()
    if options.table:
        table(options.table)
    elif options.results:
        print(platform.platform(), file=sys.stderr)
        measure(options)
    else:
        parser.error("either PEERS MODELS RESULTS or --table RESULTS")


if __name__ == "__main__":
    main()
