"""Write the sparse GGUF files of `specs.py` and the compressed headers kept in the repository.

The tensor names and shapes are the engine's own: it is asked which tensors it would create
(`llama_lib.wanted_tensors`), optional ones are left out unless the spec keeps them, and the
result is loaded; a tensor that it then misses is added. Two uses:

    models.py OUT              write every model (needs the engine)
    models.py OUT --restore    rebuild the files from headers/ (needs nothing)
"""

import argparse
import json
import os
import re
import subprocess
import sys

import gguf_header as gh

HERE = os.path.dirname(os.path.abspath(__file__))
HEADERS = os.path.join(HERE, "headers")
OPTIONAL = re.compile(r"\.bias$|scale|rope_f|rope_short|rope_long|^output\.weight$|exp_probs_b|sinks|nextn|_norm_2|^cls\.")
# never quantised by llama-quantize: small, or read by an operation that wants f32
KEEP_F32 = re.compile(
    r"ffn_gate_inp|ssm_conv1d|ssm_a|ssm_d$|shortconv\.conv|position_embd|token_types|attn_rel_b|"
    r"time_mix_(first|w0|w1|w2|v0|v1|v2|a0|a1|a2|g1|g2|lerp|decay_w)|_norm|altup|laurel|per_layer_model_proj|"
    r"ssm_x_conv|conv1d|indexer_proj|indexer\.proj")
FALLBACK = {"Q2_K": "IQ4_NL", "Q3_K": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def pick_type(spec, name, shape, layers):
    """Weight type of one tensor, close to what llama-quantize would choose."""
    ftype = spec["ftype"]
    if len(shape) == 1 or KEEP_F32.search(name) or not name.endswith(".weight"):
        return "F32"
    if ftype in ("F16", "BF16"):
        return ftype
    block = re.match(r"blk\.(\d+)\.", name)
    at = int(block.group(1)) if block else 0
    tied = not any("output" in k for k in spec["keep"])
    head = name == "output.weight" or (tied and name == "token_embd.weight")
    more = at < layers // 8 or at >= 7 * layers // 8 or (at - layers // 8) % 3 == 2
    better = ("attn_v." in name or "ffn_down" in name) and more
    want = {
        "Q8_0": "Q8_0",
        "Q4_0": "Q6_K" if head else "Q4_0",
        "Q4_K_M": "Q6_K" if head or better else "Q4_K",
        "Q5_K_M": "Q6_K" if head or better else "Q5_K",
        "Q2_K": "Q6_K" if head else "Q3_K" if "ffn_down" in name else "Q4_K" if "attn_v." in name else "Q2_K",
        "IQ4_XS": "Q6_K" if head else "Q5_K" if better else "IQ4_XS",
        "IQ4_NL": "IQ4_NL",
        "MXFP4": "MXFP4" if "_exps" in name else "Q8_0",
    }[ftype]
    if shape[0] % gh.TYPES[want][1]:
        want = FALLBACK.get(want, "F16")
    if shape[0] % gh.TYPES[want][1]:
        want = "F16"
    return want


def metadata(name, spec, change=None):
    arch = spec["arch"]
    meta = {"general.architecture": arch, "general.name": name, "general.file_type": 0}
    for key, value in (spec["hp"] | (change or {})).items():
        meta[key[1:] if key.startswith("=") else f"{arch}.{key}"] = value
    meta["tokenizer.ggml.model"] = "no_vocab"
    return meta


def match(patterns, name):
    return any(re.fullmatch(p, name) or re.fullmatch(r"(blk|enc\.blk|dec\.blk)\.\d+\." + p, name) for p in patterns)


def split_experts(wanted):
    """Published files hold gate and up apart where the engine would also take them fused."""
    out = {}
    for name, shape in wanted.items():
        if "ffn_gate_up_exps" in name:
            half = [shape[0], shape[1] // 2, *shape[2:]]
            out[name.replace("gate_up", "gate")] = half
            out[name.replace("gate_up", "up")] = half
        else:
            out[name] = shape
    return out


def build(name, spec, out):
    """Write OUT/name.gguf; returns (header, total bytes, number of tensors)."""
    import llama_lib

    path = os.path.join(out, name + ".gguf")
    meta = metadata(name, spec)
    gh.write_sparse(path, *gh.header(metadata(name, spec, spec["ask"]), []))
    wanted = split_experts(llama_lib.wanted_tensors(path)) | spec["extra"]
    layers = spec["hp"]["block_count"]
    chosen = {n for n in wanted if not match(spec["drop"], n) and (match(spec["keep"], n) or not OPTIONAL.search(n))} | set(spec["extra"])
    for _ in range(40):
        table = [(n, pick_type(spec, n, s, layers), s) for n, s in wanted.items() if n in chosen]
        blob, total = gh.header(meta, table)
        gh.write_sparse(path, blob, total)
        model, lines = llama_lib.load(path)
        if model:
            return blob, total, len(table)
        error = next((x for x in lines if "error loading model" in x), "unknown error")
        missing = re.search(r"tensor '([^']+)' not found|missing tensor '([^']+)'", error)
        missing = missing and (missing.group(1) or missing.group(2))
        if not missing or missing not in wanted or missing in chosen:
            raise RuntimeError(error)
        shape_of = re.compile(re.sub(r"\d+", r"\\d+", re.escape(missing)))
        chosen |= {n for n in wanted if shape_of.fullmatch(n) and not match(spec["drop"], n)} | {missing}
    raise RuntimeError("tensor table does not settle")


def build_one(name, out):
    import specs

    blob, total, count = build(name, specs.SPECS[name], out)
    gz = os.path.join(HEADERS, name + ".gguf.gz")
    gh.write_gzip(gz, blob)
    print(json.dumps({"arch": specs.SPECS[name]["arch"], "header_bytes": len(blob), "file_bytes": total, "tensors": count}))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--restore", action="store_true")
    ap.add_argument("--only", default="", help="regular expression on the model name")
    ap.add_argument("--one", help=argparse.SUPPRESS)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    index_path = os.path.join(HEADERS, "index.json")
    if a.one:
        return build_one(a.one, a.out)
    index = json.load(open(index_path)) if os.path.exists(index_path) else {}
    if a.restore:
        for name, row in index.items():
            if re.search(a.only, name):
                gh.restore(os.path.join(HEADERS, name + ".gguf.gz"), row["file_bytes"], os.path.join(a.out, name + ".gguf"))
        return 0
    import specs

    os.makedirs(HEADERS, exist_ok=True)
    failed = 0
    for name in specs.SPECS:
        if not re.search(a.only, name):
            continue
        run = subprocess.run([sys.executable, __file__, a.out, "--one", name], capture_output=True, text=True)
        if run.returncode:
            failed += 1
            why = [x for x in run.stderr.splitlines() if "ASSERT" in x or "Error" in x] or run.stderr.splitlines()[-1:]
            print("FAILED", name, why, flush=True)
            index.pop(name, None)
            continue
        index[name] = json.loads(run.stdout.strip().splitlines()[-1])
        print("ok", name, index[name], flush=True)
    index = {k: index[k] for k in sorted(index)}
    with open(index_path, "w") as f:
        f.write(json.dumps(index, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
