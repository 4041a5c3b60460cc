"""Compare what the engines printed with what `hwledger plan` answers.

    compare.py --planner target/release/hwledger --gguf DIR [--engine llamacpp|mlx|transformers]
               [--by arch] [--explain N] [--require 'llamacpp.kv_cache.exact>=0.99'] ...

A figure is `exact` when the plan rounds to what was printed (each printed line is good to
0.005 MiB; MLX and transformers are byte counts). `answered` counts plans with a value;
a missing one counts as a miss in every share. Exit status 1 when a requirement fails.
"""

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20


def read(name):
    path = os.path.join(HERE, "results", name + ".jsonl")
    if os.path.exists(path):
        return [json.loads(x) for x in open(path)]
    if os.path.exists(path + ".gz"):
        return [json.loads(x) for x in gzip.open(path + ".gz", "rt")]
    return []


def llamacpp_figures(row):
    """figure -> (printed bytes, how far the truth may lie from it)."""
    p, out = row["printed"], {}

    def total(figure, values):
        values = list(values)
        if values:
            out[figure] = (sum(values) * MIB, 0.005 * len(values) * MIB + 1)

    parts = [(k, v["mib"]) for c in p["caches"] for k, v in c["parts"].items()]
    total("kv_cache", (v for k, v in parts if k in "KV"))
    total("recurrent_state", (v for k, v in parts if k in "RS"))
    total("output", p["output_mib"].values())
    total("compute", p["compute_mib"].values())
    if not row["id"].endswith("/repack"):
        total("weights", row["load"]["model_buffers_mib"].values())
    return out


def mlx_figures(row):
    m = row["measured"]
    out = {"weights": (m["weights_bytes"], 0), "cache": (m["cache_bytes"], 0)}
    if row["size"] == "peak":
        out["total"] = (m["peak_bytes"], 0)
    return out


def transformers_figures(row):
    return {"cache": (row["measured"]["cache_bytes"], 0), "parameters": (row["parameters"], 0)}


def planned(answer, figure):
    """Value of a figure in an answer, in bytes, or None."""
    def value(e):
        return e["value"] if isinstance(e, dict) else None

    if figure == "parameters":
        return answer.get("model", {}).get("parameters", {}).get("total")
    memory = answer.get("memory", {})
    if figure == "cache":
        both = [value(memory.get(k)) for k in ("kv_cache", "recurrent_state")]
        return None if all(x is None for x in both) else sum(x or 0 for x in both)
    return value(memory.get(figure))


def requests_for(engine, gguf):
    """(request, row, figures) of every usable result."""
    out = []
    for row in read(engine):
        if engine == "llamacpp":
            if "printed" not in row:
                continue
            model, figures = os.path.join(gguf, row["model"] + ".gguf"), llamacpp_figures(row)
        elif "measured" not in row or engine == "transformers" and not row["measured"]["cache_bytes"]:
            continue
        else:
            model = os.path.join(HERE, row["config"])
            figures = mlx_figures(row) if engine == "mlx" else transformers_figures(row)
        request = {"id": row["id"], "model": model, **row["request"]}
        out.append((request, row, figures))
    return out


def ask(planner, requests):
    text = "".join(json.dumps(r) + "\n" for r in requests)
    run = subprocess.run([*planner.split(), "plan", "--requests", "-", "--json"], input=text, capture_output=True, text=True)
    answers = [json.loads(x) for x in run.stdout.splitlines() if x.strip()]
    if run.returncode > 1 or len(answers) != len(requests):
        sys.exit(f"planner: exit {run.returncode}, {len(answers)} answers to {len(requests)} requests\n{run.stderr[-2000:]}")
    return answers


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--planner", default=os.path.join(HERE, "../../target/release/hwledger"))
    ap.add_argument("--gguf", default="/tmp/hwledger-gguf", help="folder of the sparse files (models.py --restore)")
    ap.add_argument("--engine", action="append", choices=["llamacpp", "mlx", "transformers"])
    ap.add_argument("--only", default="", help="regular expression on the case id")
    ap.add_argument("--by", help="a key of the results to break the table down by: arch, model, name")
    ap.add_argument("--explain", type=int, default=0, metavar="N", help="show the N worst cases of each figure")
    ap.add_argument("--require", action="append", default=[], metavar="METRIC>=X")
    a = ap.parse_args()
    metrics = {}
    print(f"{'figure':<44}{'cases':>7}{'answered':>10}{'exact':>8}{'in 1%':>8}{'in 5%':>8}{'worst':>9}")
    for engine in a.engine or ["llamacpp", "mlx", "transformers"]:
        items = [x for x in requests_for(engine, a.gguf) if re.search(a.only, x[0]["id"])]
        if not items:
            continue
        answers = ask(a.planner, [x[0] for x in items])
        groups, errors = defaultdict(list), defaultdict(int)
        for (request, row, figures), answer in zip(items, answers):
            if "error" in answer:
                errors[answer["error"].get("message", "?")[:100]] += 1
            for figure, (printed, slack) in figures.items():
                got = planned(answer, figure)
                names = [f"{engine}.{figure}"]
                if a.by and row.get(a.by):
                    names.append(f"{engine}.{figure}.{row[a.by]}")
                for name in names:
                    groups[name].append((got, printed, slack, request, row))
        for name in sorted(groups, key=lambda n: (n.count("."), n)):
            rows = groups[name]
            def near(x, share):
                return x[0] is not None and abs(x[0] - x[1]) <= max(x[2], share * abs(x[1]))
            def off(x):
                return float("inf") if x[0] is None else abs(x[0] - x[1]) / max(abs(x[1]), 1) if not near(x, 0) else 0.0
            shares = {"exact": sum(near(x, 0) for x in rows) / len(rows), "in_1": sum(near(x, 0.01) for x in rows) / len(rows),
                      "in_5": sum(near(x, 0.05) for x in rows) / len(rows), "cases": len(rows),
                      "answered": sum(x[0] is not None for x in rows)}
            worst = max((off(x) for x in rows if x[0] is not None), default=0.0)
            metrics.update({f"{name}.{k}": v for k, v in shares.items()} | {f"{name}.worst": worst})
            print(f"{name:<44}{len(rows):>7}{shares['answered']:>10}{shares['exact']:>8.3f}{shares['in_1']:>8.3f}{shares['in_5']:>8.3f}{worst:>9.3f}")
            if a.explain and name.count(".") == 1:
                bad = sorted((x for x in rows if off(x) > 0), key=off, reverse=True)
                for got, printed, _, request, row in bad[:a.explain]:
                    asked = {k: v for k, v in request.items() if k not in ("id", "model", "engine", "backend", "gpu_layers")}
                    shown = "none" if got is None else f"{got / MIB:.3f}"
                    unit = (f"planned {got} printed {printed}" if name.endswith("parameters") else f"planned {shown} printed {printed / MIB:.3f} MiB")
                    print(f"    {row['id']}: {unit} {json.dumps(asked)}")
        for message, count in sorted(errors.items(), key=lambda x: -x[1])[:10]:
            print(f"    {count} answers are errors: {message}")
    failed = 0
    for text in a.require:
        m = re.fullmatch(r"(\S+?)(>=|<=)([\d.]+)", text.replace(" ", ""))
        if not m:
            sys.exit(f"cannot read requirement {text!r}")
        have = metrics.get(m[1])
        good = have is not None and (have >= float(m[3]) if m[2] == ">=" else have <= float(m[3]))
        failed += not good
        print(("ok    " if good else "FAILED"), text, "is", have)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
