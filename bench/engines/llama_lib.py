"""The llama.cpp library through llama-cpp-python's low-level binding, with its log captured."""

import ctypes
import os

HOME = os.environ.get("HWLEDGER_ENGINES", os.path.expanduser("~/.cache/hwledger-engines"))
os.environ.setdefault("LLAMA_CPP_LIB_PATH", os.path.join(HOME, "llama.cpp"))

import llama_cpp  # noqa: E402

LINES = []
_partial = [""]


@llama_cpp.llama_log_callback
def _log(_level, text, _user):
    _partial[0] += text.decode("utf-8", "replace")
    while "\n" in _partial[0]:
        line, _partial[0] = _partial[0].split("\n", 1)
        LINES.append(line)


llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


def take_lines():
    """Log lines since the last call."""
    out = LINES[:]
    LINES.clear()
    return out



def load_mode(name):
    """Value of a llama_load_mode by the end of its name."""
    return getattr(llama_cpp, "LLAMA_LOAD_MODE_" + name)


def library_versions():
    """What was measured, for the results file."""
    lib = ctypes.CDLL(os.path.join(os.environ["LLAMA_CPP_LIB_PATH"], "libllama.so"))
    lib.llama_version.restype = ctypes.c_char_p
    base = ctypes.CDLL(os.path.join(os.environ["LLAMA_CPP_LIB_PATH"], "libggml-base.so"))
    base.ggml_version.restype = base.ggml_commit.restype = ctypes.c_char_p
    return {
        "llama_cpp_python": llama_cpp.__version__,
        "llama_cpp": lib.llama_version().decode(),
        "ggml": base.ggml_version().decode(),
        "commit": base.ggml_commit().decode().replace("-dirty", ""),
        "system_info": llama_cpp.llama_print_system_info().decode().strip(),
    }


class _GgufInit(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


def wanted_tensors(header_path):
    """Every tensor (name -> shape) the engine would create for a header without tensors.

    The engine builds a model "from the user": it asks for each tensor it knows, the
    optional ones included. Nothing is allocated.
    """
    folder = os.environ["LLAMA_CPP_LIB_PATH"]
    base = ctypes.CDLL(os.path.join(folder, "libggml-base.so"))
    lib = ctypes.CDLL(os.path.join(folder, "libllama.so"))
    base.gguf_init_from_file.restype = ctypes.c_void_p
    base.gguf_init_from_file.argtypes = [ctypes.c_char_p, _GgufInit]
    meta = base.gguf_init_from_file(header_path.encode(), _GgufInit(True, None))
    if not meta:
        raise RuntimeError("header cannot be read: " + " ".join(take_lines()[-3:]))
    params = llama_cpp.llama_model_default_params()
    params.no_alloc = True
    lib.llama_model_init_from_user.restype = ctypes.c_void_p
    lib.llama_model_init_from_user.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, llama_cpp.llama_model_params]
    model = lib.llama_model_init_from_user(meta, None, None, params)
    if not model:
        raise RuntimeError(" | ".join(x for x in take_lines()[-6:] if "error" in x) or "no model")
    get = lib._Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model
    get.restype = ctypes.c_void_p
    get.argtypes = [ctypes.c_void_p]
    vector = (ctypes.c_void_p * 2).from_address(get(model))
    out = {}
    for at in range(vector[0], vector[1], 40):  # libstdc++: a 32-byte string and a pointer
        chars, length = ctypes.c_void_p.from_address(at).value, ctypes.c_size_t.from_address(at + 8).value
        tensor = ctypes.c_void_p.from_address(at + 32).value
        shape = list((ctypes.c_int64 * 4).from_address(tensor + 16))
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        out[ctypes.string_at(chars, length).decode()] = shape
    return out


def load(path, simulate=False, repack=False):
    """Load a file as the engine does on a CPU; returns (model or None, log lines)."""
    take_lines()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.load_mode = load_mode("NONE" if simulate else "MMAP")
    params.no_alloc = simulate
    params.use_extra_bufts = repack
    return llama_cpp.llama_model_load_from_file(path.encode(), params), take_lines()
