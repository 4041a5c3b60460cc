"""The native engine and llama.cpp in turn, on the same files, in one run.

    python3 compare.py HWLEDGER PEERS MODELS OUT.jsonl [--rounds 5] [--only NAME,...]

HWLEDGER is the release binary, PEERS the folder that peers.sh built, MODELS the one that models.py filled. Every
round measures each engine once, one after the other, so that whatever else the machine does meets both. Printed:
the median of each figure over the rounds and the median of the rounds' ratios; OUT.jsonl keeps every sample.

llama.cpp runs at its best setting for speed on a machine with AMX: repacking on, flash attention on
(results/xeon-amx-2-cores.jsonl has the others).
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

PROMPT, GENERATE, SEQUENCES = 512, 32, 8


def run(command):
    """Standard output and the peak resident set of a command, in bytes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed with status {process.returncode}")
    return text, usage.ru_maxrss * 1024


def ours(binary, model, tests):
    arguments = [binary, "bench", model, "--json", "--repetitions", "1", "--generate", str(GENERATE)]
    arguments += ["--prompt", str(PROMPT), "--threads", "2"]
    arguments += ["--sequences", f"1,{SEQUENCES}" if "batch" in tests else "1"]
    text, rss = run(arguments)
    report = json.loads(text)
    found = {"rss": rss, "read_bandwidth": report["read_bandwidth"], "instructions": report["instructions"]}
    for row in report["rows"]:
        name = "prefill" if row["test"] == "prefill" else "decode" if row["sequences"] == 1 else "batch"
        found[name] = row["tokens_per_second"]
    return found


def theirs(peers, model, tests):
    tools = os.path.join(peers, "native", "bin")
    text, rss = run([os.path.join(tools, "llama-bench"), "-m", model, "-t", "2", "-fa", "on", "-p", str(PROMPT),
                     "-n", str(GENERATE), "-r", "1", "-o", "jsonl"])
    found = {"rss": rss}
    for line in text.splitlines():
        row = json.loads(line)
        found["prefill" if row["n_prompt"] else "decode"] = row["avg_ts"]
    if "batch" in tests:
        text, rss = run([os.path.join(tools, "llama-batched-bench"), "-m", model, "-t", "2", "-tb", "2", "-fa", "on",
                         "-c", "4096", "-npp", "32", "-ntg", str(GENERATE), "-npl", str(SEQUENCES),
                         "--output-format", "jsonl"])
        for line in text.splitlines():
            if line.startswith("{"):
                found["batch"] = json.loads(line)["speed_tg"]
        found["rss_batch"] = rss
    return found


def main():
    parser = argparse.ArgumentParser()
    for name in ["hwledger", "peers", "models", "out"]:
        parser.add_argument(name)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="llama-1b-random-Q4_K_M,llama-1b-random-Q8_0,llama-3b-random-Q4_K_M")
    parser.add_argument("--neighbour", action="store_true", help="beside one process that never waits")
    arguments = parser.parse_args()
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if arguments.neighbour else None
    tests = ["decode"] if neighbour else ["prefill", "decode", "batch"]
    try:
        for name in arguments.only.split(","):
            model = os.path.join(arguments.models, name + ".gguf")
            samples = []
            # The first start packs the weights; it is not measured.
            ours(arguments.hwledger, model, [])
            for number in range(arguments.rounds):
                pair = {"ours": ours(arguments.hwledger, model, tests), "theirs": theirs(arguments.peers, model, tests)}
                samples.append(pair)
                record = {"model": name, "round": number, "neighbour": bool(neighbour), "time": time.time(),
                          "machine": platform.processor(), **pair}
                with open(arguments.out, "a", encoding="utf-8") as out:
                    out.write(json.dumps(record) + "\n")
            for test in [*tests, "rss"]:
                median = lambda side: statistics.median(pair[side][test] for pair in samples)
                ratio = statistics.median(pair["ours"][test] / pair["theirs"][test] for pair in samples)
                unit = 1e9 if test == "rss" else 1
                print(f"{name:26} {test:8} ours {median('ours') / unit:8.2f}  llama.cpp {median('theirs') / unit:8.2f}  "
                      f"ratio {ratio:5.2f}", flush=True)
    finally:
        if neighbour:
            neighbour.kill()


if __name__ == "__main__":
    main()
