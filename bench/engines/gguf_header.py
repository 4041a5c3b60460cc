"""Write GGUF files that hold a true header and tensor table but no tensor data.

The file is truncated to its full length, so it is sparse: a 400 GB model costs a
few kilobytes of disk. Only what is needed here is written: version 3, little endian.
"""

import gzip
import os
import struct

# name -> (type number in the file, elements per block, bytes per block)
TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18), "IQ4_XS": (23, 256, 136),
    "I32": (26, 1, 4), "BF16": (30, 1, 2), "MXFP4": (39, 32, 17),
}
ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STR, _ARR, _U64 = 4, 5, 6, 7, 8, 9, 10


class U64(int):
    """An integer that must be written as 64 bits."""


def tensor_bytes(dtype, shape):
    """Bytes of a tensor: rows are whole blocks."""
    _, block, size = TYPES[dtype]
    assert shape[0] % block == 0, (dtype, shape)
    n = 1
    for d in shape:
        n *= d
    return n // block * size


def _string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def _kind(v):
    if isinstance(v, bool):
        return _BOOL
    if isinstance(v, U64):
        return _U64
    if isinstance(v, int):
        return _U32 if v >= 0 else _I32
    if isinstance(v, float):
        return _F32
    if isinstance(v, str):
        return _STR
    return _ARR


def _scalar(v, kind):
    if kind == _STR:
        return _string(v)
    return struct.pack({_BOOL: "<?", _U64: "<Q", _U32: "<I", _I32: "<i", _F32: "<f"}[kind], v)


def _value(v):
    kind = _kind(v)
    if kind != _ARR:
        return struct.pack("<I", kind) + _scalar(v, kind)
    kinds = {_kind(x) for x in v}
    inner = _I32 if kinds == {_U32, _I32} else kinds.pop()
    return struct.pack("<IIQ", _ARR, inner, len(v)) + b"".join(_scalar(x, inner) for x in v)


def header(metadata, tensors):
    """Header bytes padded to the data section, and the full file length.

    tensors: list of (name, dtype, shape), shape with the fastest dimension first.
    """
    out = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        out.append(_string(key) + _value(value))
    offset = 0
    for name, dtype, shape in tensors:
        out.append(_string(name) + struct.pack("<I", len(shape)))
        out.append(struct.pack(f"<{len(shape)}Q", *shape))
        out.append(struct.pack("<IQ", TYPES[dtype][0], offset))
        offset += -(-tensor_bytes(dtype, shape) // ALIGNMENT) * ALIGNMENT
    blob = b"".join(out)
    blob += b"\0" * (-len(blob) % ALIGNMENT)
    return blob, len(blob) + offset


def write_sparse(path, blob, total):
    """Write the header and extend the file with a hole to its full length."""
    with open(path, "wb") as f:
        f.write(blob)
        f.truncate(total)


def write_gzip(path, blob):
    """Write the header alone, compressed, with no time stamp (stable bytes)."""
    with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as f:
        f.write(blob)


def restore(gz_path, total, out_path):
    """Rebuild the sparse file from a committed header and its true length."""
    with gzip.open(gz_path, "rb") as f:
        blob = f.read()
    os.makedirs(os.path.dirname(os.path.abspath(out_path)), exist_ok=True)
    write_sparse(out_path, blob, total)
