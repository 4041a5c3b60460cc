"""Create llama.cpp contexts over a grid of settings and record every buffer the engine prints.

    llamacpp.py GGUF_DIR            all models in headers/index.json
    llamacpp.py GGUF_DIR --only RE  some

Each model runs in a subprocess. Contexts are really created, except those whose cache or
compute buffer would not fit: they are created on a model loaded with `no_alloc`, where the
engine simulates the allocations with the same code ("simulated": true). Nothing is decoded.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results", "llamacpp.jsonl")
REAL_KV_LIMIT_MIB = 300
REAL_CASES = 6  # of each model; the rest are only simulated, which has agreed every time
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
FA = {"auto": -1, "off": 0, "on": 1}
ENCODERS = {"bert", "nomic-bert", "modern-bert", "gemma-embedding", "jina-bert-v2", "t5encoder", "llada", "llada-moe", "dream", "nomic-bert-moe"}


def grid(arch, windowed, quantised_cache, small):
    """Settings, as keys of the planner's request."""
    def case(n_ctx, **more):
        return {"context": n_ctx, **more}

    four, four_u = {"sequences": 4, "kv_unified": False}, {"sequences": 4, "kv_unified": True}
    out = [
        case(4096), case(512), case(5000), case(32768),
        case(4096, flash_attention="on"), case(4096, flash_attention="off"),
        case(32768, flash_attention="off"), case(131072, n_outputs_max=1),
        case(8192, ubatch=128), case(8192, ubatch=2048), case(8192, ubatch=2048, flash_attention="off"),
        case(4096, batch=512), case(4096, batch=256), case(4096, n_outputs_max=1),
        case(8192, **four), case(8192, **four_u), case(8192, flash_attention="off", **four),
        case(8192, flash_attention="off", **four_u),
        case(32768, n_outputs_max=4, **four_u), case(32768, n_outputs_max=4, **four),
        case(10000, sequences=3, kv_unified=False), case(16384, ubatch=1024, n_outputs_max=8, sequences=8, kv_unified=True),
    ]
    if quantised_cache:
        out += [
            case(8192, kv_type="q8_0", flash_attention="on"), case(8192, kv_type="q4_0", flash_attention="on"),
            case(8192, kv_type_k="q8_0", kv_type_v="f16", flash_attention="off"),
            case(8192, kv_type_k="q8_0", kv_type_v="q4_0", flash_attention="on"),
            case(32768, kv_type="q8_0", flash_attention="auto", n_outputs_max=4, **four_u),
        ]
    if windowed:
        out += [
            case(16384), case(16384, swa_full=True), case(16384, flash_attention="off"),
            case(16384, flash_attention="off", swa_full=True), case(16384, **four), case(16384, **four_u),
            case(16384, ubatch=2048), case(8192, ubatch=128, **four_u), case(16384, swa_full=True, **four_u),
        ]
    if small:
        out += [
            case(8192, kv_type=t, flash_attention="on") for t in ("bf16", "f32", "q5_0", "q5_1", "q4_1", "iq4_nl")
        ] + [case(65536, ubatch=u, flash_attention=f) for u in (64, 256, 4096) for f in ("on", "off")]
    return out


def encoder_grid():
    out = []
    for n_ctx in (512, 2048, 8192):
        for ub in (512, 2048):
            out.append({"context": n_ctx, "batch": ub, "ubatch": ub, "embeddings": True})
    out += [
        {"context": 512, "batch": 512, "ubatch": 512, "embeddings": True, "flash_attention": "off"},
        {"context": 2048, "batch": 2048, "ubatch": 2048, "embeddings": True, "flash_attention": "off"},
        {"context": 2048, "batch": 512, "ubatch": 512, "embeddings": True, "sequences": 4, "kv_unified": True},
        {"context": 2048, "batch": 512, "ubatch": 512, "embeddings": True, "sequences": 4, "kv_unified": False},
        {"context": 512, "batch": 512, "ubatch": 512}, {"context": 4096},
    ]
    return out


MODEL_BUFFER = re.compile(r"(\S+)\s+model buffer size =\s*([\d.]+) MiB")
KV_BUFFER = re.compile(r"(\S+):\s+(\S+) (KV|RS) buffer size =\s*([\d.]+) MiB")
KV_SIZE = re.compile(r"(\S+): size =\s*([\d.]+) MiB \(\s*(\d+) cells,\s*(\d+) layers,\s*(\d+)(?:/(\d+))? seqs[^)]*\)(.*)")
PART = re.compile(r"([A-Za-z_]+) \((\w+)\):\s*([\d.]+) MiB")
DSV4 = re.compile(r"(llama_dsv4_comp_state): (\w+) ratio = (\d+), state = (\d+) x (\d+), streams = (\d+), .* layers = (\d+), size =\s*([\d.]+) MiB")
OUTPUT = re.compile(r"(\S+)\s+output buffer size =\s*([\d.]+) MiB")
COMPUTE = re.compile(r"(\S+) compute buffer size =\s*([\d.]+) MiB")
GRAPH = re.compile(r"graph(?: \(.*?\))?: nodes = (.*?), splits = (.*?), input objects = (.*?), input tensors = (.*)")
SETTING = re.compile(r"llama_context: (n_\w+|causal_attn|flash_attn|kv_unified)\s*= (\S+)")
NOTE = re.compile(r"(Flash Attention|fused|setting|padding|not divisible|falling|using full|KV buffer|requires|window)", re.I)


def parse_load(lines):
    out = {"model_buffers_mib": {}}
    for line in lines:
        if m := MODEL_BUFFER.search(line):
            out["model_buffers_mib"][m[1]] = out["model_buffers_mib"].get(m[1], 0) + float(m[2])
        elif m := re.search(r"print_info: (n_swa|n_layer|file size|is_swa_any|model params)\s*= (.*)", line):
            out[m[1].replace(" ", "_")] = m[2].strip()
    return out


def parse_context(lines):
    out = {"settings": {}, "buffers_mib": [], "caches": [], "output_mib": {}, "compute_mib": {}, "notes": []}
    for line in lines:
        if m := KV_BUFFER.search(line):
            out["buffers_mib"].append([m[1], m[3], m[2], float(m[4])])
        elif m := KV_SIZE.search(line):
            parts = {p: {"type": t, "mib": float(v)} for p, t, v in PART.findall(m[7])}
            out["caches"].append({"what": m[1], "mib": float(m[2]), "cells": int(m[3]), "layers": int(m[4]),
                                  "sequences": int(m[5]), "streams": int(m[6] or 0), "parts": parts})
        elif m := DSV4.search(line):  # compressor state, float32, per sequence
            out["caches"].append({"what": m[1], "mib": float(m[8]), "cells": int(m[4]), "layers": int(m[7]),
                                  "sequences": int(m[6]), "streams": int(m[6]), "kind": m[2], "ratio": int(m[3]),
                                  "parts": {"S": {"type": "f32", "mib": float(m[8])}}})
        elif m := OUTPUT.search(line):
            out["output_mib"][m[1]] = float(m[2])
        elif m := COMPUTE.search(line):
            out["compute_mib"][m[1]] = float(m[2])
        elif m := GRAPH.search(line):
            out["graph"] = {"nodes": m[1], "splits": m[2], "input_objects": m[3], "input_tensors": m[4]}
        elif m := SETTING.search(line):
            out["settings"][m[1]] = m[2]
        elif NOTE.search(line) and not re.search(r"- layer|full capacity|using device", line):
            out["notes"].append(line.strip()[:200])
    return out


def context_params(llama_cpp, request):
    p = llama_cpp.llama_context_default_params()
    p.n_ctx = request["context"]
    p.n_batch = request.get("batch", max(2048, request.get("ubatch", 0)))
    p.n_ubatch = request.get("ubatch", 512)
    p.n_seq_max = request.get("sequences", 1)
    p.n_outputs_max = request.get("n_outputs_max", 0)
    kv = request.get("kv_type", "f16")
    p.type_k, p.type_v = TYPES[request.get("kv_type_k", kv)], TYPES[request.get("kv_type_v", kv)]
    p.flash_attn_type = FA[request.get("flash_attention", "auto")]
    p.kv_unified = request.get("kv_unified", False)
    p.swa_full = request.get("swa_full", False)
    p.embeddings = request.get("embeddings", False)
    p.n_threads = p.n_threads_batch = 1
    return p


def run_model(folder, name, start=0):
    """Every case of one model; a line of JSON per case on standard output."""
    import llama_lib
    llama_cpp = llama_lib.llama_cpp

    index = json.load(open(os.path.join(HERE, "headers", "index.json")))[name]
    path = os.path.join(folder, name + ".gguf")
    versions = {k: v for k, v in llama_lib.library_versions().items() if k != "system_info"}
    models, loads = {}, {}
    for simulate in (False, True):
        models[simulate], lines = llama_lib.load(path, simulate=simulate)
        loads[simulate] = parse_load(lines)
        if not models[simulate]:
            print(json.dumps({"id": f"{name}/load", "error": [x for x in lines if "error" in x]}), flush=True)
            return
    loads[True] = loads[False]

    def one(number, request, simulate, load, model):
        print(f"#{number}", flush=True)  # tells the parent which case was running if the engine aborts
        llama_lib.take_lines()
        started = time.time()
        ctx = llama_cpp.llama_init_from_model(model, context_params(llama_cpp, request))
        lines = llama_lib.take_lines()
        row = {"id": f"{name}/{number}", "model": name, "arch": index["arch"], "file_bytes": index["file_bytes"],
               "request": {"engine": "llama.cpp", "backend": "CPU", "gpu_layers": 0, "batch": 2048, "ubatch": 512,
                           "flash_attention": "auto", "kv_unified": False, **request},
               "simulated": simulate}
        row["request"]["batch"] = context_params(llama_cpp, request).n_batch
        if ctx:
            row["load"], row["printed"] = load, parse_context(lines)
            if simulate:  # the buffers of a simulated cache print as 0; the "size =" lines are right
                row["printed"]["buffers_mib"] = []
            llama_cpp.llama_free(ctx)
        else:
            row["error"] = [x for x in lines if re.search("error|fail|requires", x)][-3:] or lines[-2:]
        row["versions"] = versions
        row["seconds"] = round(time.time() - started, 2)
        print(json.dumps(row), flush=True)
        return row

    if index["arch"] in ENCODERS:
        requests = encoder_grid()
    else:
        first = one(0, {"context": 4096}, True, loads[True], models[True])
        caches = first.get("printed", {}).get("caches", [])
        windowed = len([c for c in caches if "K" in c["parts"]]) > 1
        requests = grid(index["arch"], windowed, any("K" in c["parts"] for c in caches), re.search("qwen3-0.6b|gemma-3-1b|tinyllama", name))
    number = 0
    for request in requests:
        number += 1
        if number < start:
            continue
        row = one(number, request, True, loads[True], models[True])
        printed = row.get("printed")
        cache = sum(c["mib"] for c in printed["caches"]) if printed else 0
        if number <= REAL_CASES and printed and cache <= REAL_KV_LIMIT_MIB and sum(printed["compute_mib"].values()) < 12000:
            one(number, request, False, loads[False], models[False])

    # the default load repacks quantised weights: record its buffers with one context
    for m in models.values():
        llama_cpp.llama_model_free(m)
    if index["file_bytes"] < 1.3e9 and not re.search(r"-(bf16|f16)$", name):
        model, lines = llama_lib.load(path, repack=True)
        if model:
            one("repack", {"context": 4096}, False, parse_load(lines), model)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("--only", default="", help="regular expression on the model name")
    ap.add_argument("--append", action="store_true", help="keep the results of models not run now")
    ap.add_argument("--one", help=argparse.SUPPRESS)
    ap.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one:
        return run_model(a.folder, a.one, a.start)
    index = json.load(open(os.path.join(HERE, "headers", "index.json")))
    names = [n for n in index if re.search(a.only, n)]
    kept = []
    if a.append and os.path.exists(RESULTS):
        kept = [x for x in open(RESULTS) if json.loads(x)["model"] not in names]
    with open(RESULTS, "w") as f:
        f.writelines(kept)
        for name in names:
            rows, start = [], 0
            for _ in range(6):  # an aborted case is recorded and the rest go on
                run = subprocess.run([sys.executable, __file__, a.folder, "--one", name, "--start", str(start)],
                                     capture_output=True, text=True, timeout=900, env={**os.environ, "GGML_NO_BACKTRACE": "1"})
                rows += [json.loads(x) for x in run.stdout.splitlines() if x.startswith("{")]
                at = re.findall(r"^#(\d+)$", run.stdout, re.M)
                if run.returncode == 0 or not at or at[-1] == "0":
                    break
                why = [x.split("/")[-1] for x in run.stderr.splitlines() if "ASSERT" in x or "fatal error" in x]
                rows.append({"id": f"{name}/{at[-1]}", "model": name, "arch": index[name]["arch"],
                             "error": ["the engine aborted: " + (why or ["signal"])[0]], "seconds": 0, "simulated": True})
                start = int(at[-1]) + 1
            best = {}
            for row in rows:  # a case that was really allocated replaces its simulation, which must agree
                old = best.get(row["id"])
                if old and "printed" in old and "printed" in row:
                    same = (old["printed"]["compute_mib"] == row["printed"]["compute_mib"]
                            and [c["mib"] for c in old["printed"]["caches"]] == [c["mib"] for c in row["printed"]["caches"]])
                    row["simulation_agrees"] = same
                    if not same:
                        row["simulated_compute_mib"] = old["printed"]["compute_mib"]
                if not old or "printed" in row:
                    best[row["id"]] = row
            best.pop(f"{name}/0", None)
            f.writelines(json.dumps(r) + "\n" for r in best.values())
            f.flush()
            bad = [r["id"] for r in best.values() if "error" in r]
            print(name, len(best), "cases", "exit", run.returncode, "errors", len(bad),
                  "disagree", sum(r.get("simulation_agrees") is False for r in best.values()),
                  run.stderr.strip().splitlines()[-1:] if run.returncode else "", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
