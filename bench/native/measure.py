"""Times llama.cpp's tools on the models of models.py; one JSON line for every run.

    measure.py PEERS MODELS RESULTS.jsonl [--rounds 2] [--only 1b-Q4_K_M,...] [--tests bench,batched]
    measure.py --table RESULTS.jsonl

Every mode runs once a round, so that a busy neighbour does not meet the same one each time, and
every line tells how busy others kept the processors meanwhile (`others`, as a share of all of them).
The table gives the best sample of each row, which is what a quiet machine does.

Modes: `default` repacks weights (into the AMX layout where the build has it), `norepack` leaves them
as in the file, `noamx` is the build without AMX with its default repacking.
"""

import argparse
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


def bench(tools, model, repack, flash, threads, repetitions):
    command = [tools / "llama-bench", "-m", model, "-t", threads, "-fa", flash, "--repack", int(repack)]
    output, facts = run([*command, "-p", PROMPT, "-n", GENERATED, "-r", repetitions, "-o", "jsonl"])
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        yield {"test": test, "samples": [round(rate, 2) for rate in row["samples_ts"]], **facts}


def batched(tools, model, repack, flash, threads, _):
    cells = max(SEQUENCES) * (BATCHED_PROMPT + BATCHED_GENERATED)
    command = [tools / "llama-batched-bench", "-m", model, "-t", threads, "-fa", flash, "-c", cells, "-b", 2048]
    command += ["-npp", BATCHED_PROMPT, "-ntg", BATCHED_GENERATED, "-npl", ",".join(map(str, SEQUENCES))]
    output, facts = run([*command, "--output-format", "jsonl", *([] if repack else ["--no-repack"])])
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        for test, rate in (("batched-pp", "speed_pp"), ("batched-tg", "speed_tg")):
            yield {"test": f"{test}-{row['pl']}", "samples": [round(row[rate], 2)], **facts}


def measure(options):
    machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    steps = {"bench": bench, "batched": batched}
    with open(options.results, "a") as results:
        for number in range(options.rounds):
            for model in options.only.split(","):
                for mode in options.modes.split(","):
                    variant, repack = MODES[mode]
                    tools = options.peers / variant / "bin"
                    version = (options.peers / variant / "VERSION").read_text().splitlines()[0]
                    for step in options.tests.split(","):
                        for flash in options.flash.split(","):
                            for threads in options.threads.split(","):
                                path = options.models / f"llama-{model.replace('-', '-random-', 1)}.gguf"
                                about = {"version": version, "machine": machine, "model": model, "mode": mode}
                                about |= {"flash": flash, "threads": int(threads), "round": number}
                                for row in steps[step](tools, path, repack, flash, threads, options.repetitions):
                                    line = json.dumps(about | row)
                                    print(line, file=results, flush=True)
                                    print(line[line.index('"model"') :], flush=True)


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
        shown = [f"{cell:.1f}" + ("*" if noise[model, test, threads, *column] > 0.1 else "") if cell else "" for cell, column in zip(cells, columns)]
        print(f"| {model} | {test} | {threads} | " + " | ".join(shown) + f" | **{max(cells):.1f}** |")
    print("\n`*`: others used more than a tenth of the processors in every round.\n")
    print("| model | tool | mode | peak RSS, GB |\n|---|---|---|---|")
    for (model, test, mode), size in memory.items():
        if test != f"pp{PROMPT}":
            print(f"| {model} | {'llama-batched-bench' if test == 'batched' else 'llama-bench'} | {mode} | {size / 1e9:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, nargs="?")
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--only", default="1b-Q4_K_M,1b-Q8_0,3b-Q4_K_M,3b-Q8_0")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--flash", default=",".join(FLASH))
    parser.add_argument("--threads", default="2")
    parser.add_argument("--tests", default="bench,batched")
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
