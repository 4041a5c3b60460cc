"""The native engine and llama.cpp in turn, on the same files, in one run.

    python3 compare.py HWLEDGER PEERS MODELS OUT.jsonl [--rounds 5] [--only NAME,...] [--masked]

HWLEDGER is the release binary, PEERS the folder that peers.sh built, MODELS the one that models.py filled. Every
round measures each engine once, one after the other, so that whatever else the machine does meets both. Printed:
the median of each figure over the rounds and the median of the rounds' ratios; OUT.jsonl keeps every sample.

llama.cpp runs with weights repacked and as in the file, flash attention on: which is faster differs by row and
machine, and each row is compared with the better of the two. `--masked` compares AVX2 on both sides.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

PROMPT, GENERATE, SEQUENCES = 512, 32, 8
# llama.cpp's settings, and whether each repacks the weights.
SETTINGS = {"repacked": True, "as-is": False}


def run(command):
    """Standard output and the peak resident set of a command, in bytes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed with status {process.returncode}")
    return text, usage.ru_maxrss * 1024


def ours(binary, model, tests, masked):
    arguments = [binary, "bench", model, "--json", "--repetitions", "1", "--generate", str(GENERATE)]
    arguments += ["--instructions", "avx2"] if masked else []
    arguments += ["--prompt", str(PROMPT), "--threads", "2"]
    arguments += ["--sequences", f"1,{SEQUENCES}" if "batch" in tests else "1"]
    text, rss = run(arguments)
    report = json.loads(text)
    found = {"rss": rss, "read_bandwidth": report["read_bandwidth"], "instructions": report["instructions"]}
    for row in report["rows"]:
        name = "prefill" if row["test"] == "prefill" else "decode" if row["sequences"] == 1 else "batch"
        found[name] = row["tokens_per_second"]
    return found


def theirs(peers, model, tests, masked, repacked):
    tools = os.path.join(peers, "avx2" if masked else "native", "bin")
    text, rss = run([os.path.join(tools, "llama-bench"), "-m", model, "-t", "2", "-fa", "on", "-p", str(PROMPT),
                     "-n", str(GENERATE), "-r", "1", "-o", "jsonl", "--repack", str(int(repacked))])
    found = {"rss": rss}
    for line in text.splitlines():
        row = json.loads(line)
        found["prefill" if row["n_prompt"] else "decode"] = row["avg_ts"]
    if "batch" in tests:
        text, rss = run([os.path.join(tools, "llama-batched-bench"), "-m", model, "-t", "2", "-tb", "2", "-fa", "on",
                         "-c", "4096", "-npp", "32", "-ntg", str(GENERATE), "-npl", str(SEQUENCES),
                         "--output-format", "jsonl", *([] if repacked else ["--no-repack"])])
        for line in text.splitlines():
            if line.startswith("{"):
                found["batch"] = json.loads(line)["speed_tg"]
        found["rss_batch"] = rss
    return found


def summary(name, tests, samples):
    """Prints each row: ours, llama.cpp's better setting, and the median of the rounds' ratios to that."""
    for test in tests:
        unit = 1e9 if test == "rss" else 1
        median = lambda side: statistics.median(sample[side][test] for sample in samples)
        for side in sorted(SETTINGS, key=median, reverse=True):
            ratio = statistics.median(sample["ours"][test] / sample[side][test] for sample in samples)
            print(f"{name:26} {test:8} ours {median('ours') / unit:8.2f}  llama.cpp {side:8} {median(side) / unit:8.2f}  "
                  f"ratio {ratio:5.2f}", flush=True)
            if test != "rss":
                break


def main():
    parser = argparse.ArgumentParser()
    for name in ["hwledger", "peers", "models", "out"]:
        parser.add_argument(name)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(f"llama-{size}-random-{kind}" for size in ["1b", "3b"]
                                                   for kind in ["Q4_K_M", "Q8_0"]))
    parser.add_argument("--neighbour", action="store_true", help="beside one process that never waits")
    parser.add_argument("--masked", action="store_true", help="without AVX-512 on both sides (peers.sh FOLDER avx2)")
    arguments = parser.parse_args()
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if arguments.neighbour else None
    tests = ["decode"] if neighbour else ["prefill", "decode", "batch"]
    masked = arguments.masked
    try:
        for name in arguments.only.split(","):
            model = os.path.join(arguments.models, name + ".gguf")
            samples = []
            # The first start packs the weights; it is not measured.
            ours(arguments.hwledger, model, [], masked)
            for number in range(arguments.rounds):
                sample = {"ours": ours(arguments.hwledger, model, tests, masked)}
                for side, repacked in SETTINGS.items():
                    sample[side] = theirs(arguments.peers, model, tests, masked, repacked)
                samples.append(sample)
                record = {"model": name, "round": number, "neighbour": bool(neighbour), "masked": masked,
                          "time": time.time(), **sample}
                with open(arguments.out, "a", encoding="utf-8") as out:
                    out.write(json.dumps(record) + "\n")
            summary(name, [*tests, "rss"], samples)
    finally:
        if neighbour:
            neighbour.kill()


if __name__ == "__main__":
    main()
