"""Print what ggml's graph allocator does with the prompt graph of one model and setting.

Needs the second library folder of install.sh (`llama.cpp-allocdebug`: the same build with the
allocator's own debug prints enabled). One line per step:

    exec OP (tensor) <= parents         the node about to be placed
    alloc tensor BYTES at OFFSET        a new place (offset in the compute buffer)
    reuse parent for tensor             placed over an input that is used no more
    free tensor OFFSET BYTES

Uses: alloc_trace.py FILE.gguf [n_ctx] [n_ubatch] [on|off] [n_outputs_max]
"""

import os
import re
import sys

HOME = os.environ.get("HWLEDGER_ENGINES", os.path.expanduser("~/.cache/hwledger-engines"))
FOLDER = os.path.join(HOME, "llama.cpp-allocdebug")


def main():
    if os.environ.get("LLAMA_CPP_LIB_PATH") != FOLDER:
        env = {**os.environ, "LLAMA_CPP_LIB_PATH": FOLDER, "LD_LIBRARY_PATH": FOLDER}
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], env)
    import llama_lib
    import llamacpp

    path = sys.argv[1]
    value = lambda i, default: sys.argv[i] if len(sys.argv) > i else default  # noqa: E731
    request = {"context": int(value(2, 4096)), "ubatch": int(value(3, 512)), "flash_attention": value(4, "on"),
               "n_outputs_max": int(value(5, 0))}
    model, _ = llama_lib.load(path)
    llama_lib.take_lines()
    ctx = llama_lib.llama_cpp.llama_init_from_model(model, llamacpp.context_params(llama_lib.llama_cpp, request))
    lines = llama_lib.take_lines()
    if not ctx:
        sys.exit("\n".join(lines[-3:]))
    # several graphs are reserved; the last before the size is printed is the prompt graph
    end = next(i for i, x in enumerate(lines) if "compute buffer size" in x)
    starts = [i for i in range(end) if "worst-case" in lines[i] or "graph_reserve" in lines[i] or "reserving a graph" in lines[i]]
    part = lines[starts[-1]:end] if starts else lines[:end]
    print("#", os.path.basename(path), request, lines[end].strip())
    for line in part:
        if m := re.match(r"exec: (\S+) \((.*?)\) <= (.*)", line):
            print(f"exec {m[1]} ({m[2]}) <= {m[3].strip()}")
        elif m := re.search(r"allocating (.*?) \((\d+) bytes\) - .*offset (\d+)", line):
            print(f"alloc {m[1]} {m[2]} at {m[3]}")
        elif m := re.match(r".*?(reusing (?:view )?parent .*|not (?:reusing|freeing).*|freeing extra.*)", line):
            print(m[1])
        elif m := re.search(r"freeing (.*?) at \{chunk=\d+, offset=(\d+)\} \((\d+) bytes\)", line):
            print(f"free {m[1]} {m[2]} {m[3]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
