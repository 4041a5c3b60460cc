"""Load models as llama.cpp does by default and record where their weights are: mapped, or laid out anew.

    repack.py GGUF_DIR RESULTS.jsonl --instructions avx2 [--only RE] [--gib-max 4]

Each model is loaded in a process of its own, three times: mapped with repacking, mapped without, and read with it
(no mmap). A row holds the printed model buffers of each and the process's resident memory at its peak and after the
load (VmHWM, VmRSS and RssFile of /proc, in bytes). What is repacked depends on the processor: the row names its
instructions. The sparse files of `models.py --restore` do: their pages are zeros.
"""

import argparse
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUFFER = re.compile(r"(\S+)\s+model buffer size =\s*([\d.]+) MiB")
MODES = {"repacked": ("MMAP", True), "mapped": ("MMAP", False), "read": ("NONE", True)}


def resident():
    """Resident bytes of this process: its peak, now, and of files now."""
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return [int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS", "RssFile")]


def one(path, mode):
    import llama_lib

    load_mode, repack = MODES[mode]
    llama_lib.take_lines()
    params = llama_lib.llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.load_mode = llama_lib.load_mode(load_mode)
    params.use_extra_bufts = repack
    before = resident()[1]
    model = llama_lib.llama_cpp.llama_model_load_from_file(path.encode(), params)
    lines = llama_lib.take_lines()
    if not model:
        sys.exit("\n".join(lines[-5:]))
    peak, now, files = resident()
    found = {"buffers_mib": {name: float(size) for name, size in BUFFER.findall("\n".join(lines))}}
    found |= {"before_bytes": before, "peak_bytes": peak, "resident_bytes": now, "file_resident_bytes": files}
    print(json.dumps(found))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("gguf")
    ap.add_argument("results", nargs="?")
    ap.add_argument("--instructions", default="avx2")
    ap.add_argument("--only", default="")
    ap.add_argument("--gib-max", type=float, default=4)
    ap.add_argument("--one", choices=MODES, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one:
        return one(a.gguf, a.one)
    import llama_lib

    versions = llama_lib.library_versions()
    with open(a.results, "w") as output:
        for name in sorted(os.listdir(a.gguf)):
            path = os.path.join(a.gguf, name)
            size = os.path.getsize(path)
            if not name.endswith(".gguf") or not re.search(a.only, name) or size > a.gib_max * 2**30:
                continue
            row = {"model": name[:-5], "file_bytes": size, "instructions": a.instructions}
            for mode in MODES:
                command = [sys.executable, os.path.join(HERE, "repack.py"), path, "--one", mode]
                run = subprocess.run(command, capture_output=True, text=True)
                row[mode] = json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else {"error": run.stderr[-300:]}
            row["versions"] = {key: versions[key] for key in ("llama_cpp_python", "ggml", "commit", "system_info")}
            output.write(json.dumps(row) + "\n")
            output.flush()
            print(row["model"], row["repacked"].get("buffers_mib", row["repacked"]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
