#!/usr/bin/env python3
"""Checks an exported ledger and its proofs without any of our code, and makes some for our code to check.

Written from the specifications (C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof; RFC 6962). Needs Python 3.8 and
`cryptography` for Ed25519.

    check.py bundle FOLDER [--key VKEY] [--held NOTE]
    check.py inclusion PROOF --entry FILE --key VKEY
    check.py consistency PROOF --old NOTE --key VKEY
    check.py make FOLDER
"""

import argparse
import base64
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

WIDTH = 256


class Wrong(Exception):
    pass


def sha(data):
    return hashlib.sha256(data).digest()


def leaf_hash(entry):
    return sha(b"\0" + entry)


def node_hash(left, right):
    return sha(b"\1" + left + right)


def split(count):
    return 1 << (count - 1).bit_length() - 1


def root_of(hashes):
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if not hashes:
        return sha(b"")
    if len(hashes) == 1:
        return hashes[0]
    middle = split(len(hashes))
    return node_hash(root_of(hashes[:middle]), root_of(hashes[middle:]))


def inclusion(index, hashes):
    """PATH of RFC 6962, section 2.1.1."""
    if len(hashes) == 1:
        return []
    middle = split(len(hashes))
    if index < middle:
        return inclusion(index, hashes[:middle]) + [root_of(hashes[middle:])]
    return inclusion(index - middle, hashes[middle:]) + [root_of(hashes[:middle])]


def consistency(old, hashes, is_whole=True):
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if old == len(hashes):
        return [] if is_whole else [root_of(hashes)]
    middle = split(len(hashes))
    if old <= middle:
        return consistency(old, hashes[:middle], is_whole) + [root_of(hashes[middle:])]
    return consistency(old - middle, hashes[middle:], False) + [root_of(hashes[:middle])]


def root_by_inclusion(index, size, leaf, proof):
    if size == 1:
        if proof:
            raise Wrong("the proof is too long")
        return leaf
    if not proof:
        raise Wrong("the proof is too short")
    middle = split(size)
    if index < middle:
        return node_hash(root_by_inclusion(index, middle, leaf, proof[:-1]), proof[-1])
    return node_hash(proof[-1], root_by_inclusion(index - middle, size - middle, leaf, proof[:-1]))


def roots_by_consistency(old, new, old_root, proof, is_whole=True):
    """The old and the new root that a proof leads to."""
    if old == new:
        if is_whole:
            if proof:
                raise Wrong("the proof is too long")
            return old_root, old_root
        if len(proof) != 1:
            raise Wrong("the proof has a wrong length")
        return proof[0], proof[0]
    if not proof:
        raise Wrong("the proof is too short")
    middle = split(new)
    if old <= middle:
        left_old, left_new = roots_by_consistency(old, middle, old_root, proof[:-1], is_whole)
        return left_old, node_hash(left_new, proof[-1])
    right_old, right_new = roots_by_consistency(old - middle, new - middle, old_root, proof[:-1], False)
    return node_hash(proof[-1], right_old), node_hash(proof[-1], right_new)


def key_id(name, data):
    return sha(name.encode() + b"\n" + data)[:4]


def read_key(text):
    name, number, data = text.strip().split("+", 2)
    data = base64.b64decode(data, validate=True)
    if data[:1] != b"\1" or key_id(name, data).hex() != number:
        raise Wrong("this is no Ed25519 key")
    return name, bytes.fromhex(number), Ed25519PublicKey.from_public_bytes(data[1:])


def read_checkpoint(note, key):
    """Size and root of a checkpoint that is signed by the key of its origin."""
    name, number, public = read_key(key)
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        mark, signer, data = line.split(" ")
        data = base64.b64decode(data, validate=True)
        if mark == "\u2014" and signer == name and data[:4] == number:
            try:
                public.verify(data[4:], text.encode())
            except InvalidSignature:
                raise Wrong("the signature does not belong to the text") from None
            origin, size, root = text.split("\n")[:3]
            if origin != name:
                raise Wrong("the key is of another ledger")
            return int(size), base64.b64decode(root, validate=True)
    raise Wrong("the key did not sign this")


def tile_path(level, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/" + "/".join(groups) + ("" if width == WIDTH else f".p/{width}")


def tiles(level, hashes):
    """The tiles of a level of tiles and the hashes of the next one."""
    above = []
    for start in range(0, len(hashes), WIDTH):
        tile = hashes[start:start + WIDTH]
        yield tile_path(level, start // WIDTH, len(tile)), tile
        if len(tile) == WIDTH:
            above.append(root_of(tile))
    if above:
        yield from tiles(level + 1, above)


def read_bundle(folder, start, width):
    """The entries of one bundle; none where it is not there."""
    try:
        data = (folder / tile_path("entries", start // WIDTH, width)).read_bytes()
    except FileNotFoundError:
        return None
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 2], "big")
        entries.append(data[at + 2:at + 2 + length])
        at += 2 + length
    if at != len(data) or len(entries) != width:
        raise Wrong(f"the bundle of entries from {start} does not hold {width}")
    return entries


def read_leaves(folder, size):
    """The hashes of all leaves, and the entries whose data are there. Where data were dropped, before `minimum-index`, the
    hashes are those of the tiles, and `kept` holds single entries."""
    path = folder / "minimum-index"
    minimum = int(path.read_text()) if path.exists() else 0
    hashes, entries = [], []
    for start in range(0, size, WIDTH):
        width = min(WIDTH, size - start)
        bundle = read_bundle(folder, start, width)
        if bundle is not None:
            entries += bundle
            hashes += [leaf_hash(entry) for entry in bundle]
            continue
        if start >= minimum:
            raise Wrong(f"the bundle of entries from {start} is not there")
        tile = (folder / tile_path(0, start // WIDTH, width)).read_bytes()
        if len(tile) != 32 * width:
            raise Wrong(f"the tile of entries from {start} does not hold {width} hashes")
        hashes += [tile[at:at + 32] for at in range(0, len(tile), 32)]
    for path in (folder / "kept").glob("*") if minimum else []:
        entry, index = path.read_bytes(), int(path.name)
        if not 0 <= index < min(minimum, size) or leaf_hash(entry) != hashes[index]:
            raise Wrong(f"kept/{path.name} is not entry {index}")
        entries.append(entry)
    return hashes, entries


def check_bundle(folder, key, held):
    key = key or (folder / "keys").read_text().splitlines()[0]
    size, root = read_checkpoint((folder / "checkpoint").read_text(), key)
    hashes, entries = read_leaves(folder, size)
    count = 0
    for path, tile in tiles(0, hashes):
        if (folder / path).read_bytes() != b"".join(tile):
            raise Wrong(f"{path} is not what the entries lead to")
        count += 1
    if root_of(hashes) != root:
        raise Wrong("the entries lead to another root than the one that was signed")
    if held:
        held_size, held_root = read_checkpoint(pathlib.Path(held).read_text(), key)
        if held_size > size or root_of(hashes[:held_size]) != held_root:
            raise Wrong("it does not continue the checkpoint that is held")
    for entry in entries:
        text = json.loads(entry)
        if json.dumps(text, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != entry:
            raise Wrong("an entry is not canonical")
    dropped = f", the data of {size - len(entries)} were dropped" if len(entries) < size else ""
    return f"{size} entries{dropped}, {count} tiles, root {root.hex()}"


def hashes_of(text):
    return [base64.b64decode(line, validate=True) for line in text.splitlines()]


def check_inclusion(proof, entry, key):
    head, note = proof.split("\n\n", 1)
    title, line, *hashes = head.split("\n")
    if title != "c2sp.org/tlog-proof@v1" or not line.startswith("index "):
        raise Wrong("this is no proof")
    size, root = read_checkpoint(note, key)
    index = int(line[6:])
    if index >= size:
        raise Wrong("there is no such entry")
    if root_by_inclusion(index, size, leaf_hash(entry), hashes_of("\n".join(hashes))) != root:
        raise Wrong("the proof leads to another root")
    return f"entry {index} of {size}"


def check_consistency(proof, old_note, key):
    head, note = proof.split("\n\n", 1)
    line, *hashes = head.split("\n")
    old, old_root = read_checkpoint(old_note, key)
    new, new_root = read_checkpoint(note, key)
    if line != f"old {old}" or old > new:
        raise Wrong("the proof is for another checkpoint")
    if roots_by_consistency(old, new, old_root, hashes_of("\n".join(hashes))) != (old_root, new_root):
        raise Wrong("the proof leads to other roots")
    return f"{new} entries continue {old}"


def make(folder):
    """A ledger of our own making: key, two checkpoints, an entry and both proofs. The same at every call."""
    name, size, old, index = "example.com/made-elsewhere", 700, 300, 555
    secret = Ed25519PrivateKey.from_private_bytes(sha(b"a key for tests only"))
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    data = b"\1" + secret.public_key().public_bytes(*raw)
    key = f"{name}+{key_id(name, data).hex()}+{base64.b64encode(data).decode()}"
    entries = [json.dumps({"number": number, "text": "\u00e4" * (number % 50)}, sort_keys=True, separators=(",", ":"),
                          ensure_ascii=False).encode() for number in range(size)]
    hashes = [leaf_hash(entry) for entry in entries]

    def sign(count):
        text = f"{name}\n{count}\n{base64.b64encode(root_of(hashes[:count])).decode()}\n"
        signature = base64.b64encode(key_id(name, data) + secret.sign(text.encode())).decode()
        return f"{text}\n\u2014 {name} {signature}\n"

    def lines(proof):
        return "".join(base64.b64encode(part).decode() + "\n" for part in proof)

    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "key": key + "\n", "checkpoint": sign(size), f"checkpoint-{old}": sign(old),
        f"entry-{index}.tlog-proof":
            f"c2sp.org/tlog-proof@v1\nindex {index}\n{lines(inclusion(index, hashes))}\n{sign(size)}",
        f"consistency-{old}": f"old {old}\n{lines(consistency(old, hashes))}\n{sign(size)}",
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    (folder / f"entry-{index}").write_bytes(entries[index])
    return f"{size} entries, root {root_of(hashes).hex()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bundle", "inclusion", "consistency", "make"])
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--key")
    parser.add_argument("--held")
    parser.add_argument("--entry", type=pathlib.Path)
    parser.add_argument("--old", type=pathlib.Path)
    options = parser.parse_args()
    try:
        if options.what == "bundle":
            answer = check_bundle(options.path, options.key, options.held)
        elif options.what == "inclusion":
            answer = check_inclusion(options.path.read_text(), options.entry.read_bytes(), options.key)
        elif options.what == "consistency":
            answer = check_consistency(options.path.read_text(), options.old.read_text(), options.key)
        else:
            answer = make(options.path)
    except (Wrong, ValueError, OSError) as error:
        print(f"wrong: {error}")
        return 1
    print(f"right: {answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
