"""The texts that the demonstration model is trained on, read from the archives that distribute them."""

import hashlib
import io
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One archive and what is read from it."""

    file: str
    sha256: str
    package: str
    version: str
    text: str
    licence: str


AUSTEN = Source(
    file="r-cran-janeaustenr_1.0.0-1_all.deb",
    sha256="df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
    package="Debian r-cran-janeaustenr",
    version="1.0.0-1",
    text="Jane Austen: Emma, Mansfield Park, Northanger Abbey, Persuasion, Pride and Prejudice, Sense and Sensibility (1811 to 1817)",
    licence="public domain (the package around the texts: MIT)",
)
ALICE = Source(
    file="brotli-1.2.1.tar.gz",
    sha256="02b2f7b5a83485efe448a44ddf7983def05c3bb1dcf917d4f7154070260e13de",
    package="PyPI brotli (source archive, tests/testdata/alice29.txt)",
    version="1.2.1",
    text="Lewis Carroll: Alice's Adventures in Wonderland (1865)",
    licence="public domain (the package around the text: MIT)",
)
WORDNET = Source(
    file="wordnet-base_1%3a3.0-37_all.deb",
    sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    package="Debian wordnet-base",
    version="1:3.0-37",
    text="WordNet 3.0: definitions of common nouns, verbs and adjectives (Princeton University, 2006)",
    licence="WordNet 3.0 licence (permissive, with attribution)",
)
SOURCES = (AUSTEN, ALICE, WORDNET)

# The novels in the order in which the package stores them.
NOVELS = ("Emma", "Mansfield Park", "Northanger Abbey", "Persuasion", "Pride and Prejudice", "Sense and Sensibility")


def _read(folder: Path, source: Source) -> bytes:
    data = (folder / source.file).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise SystemExit(f"{source.file}: sha256 is {found}, not {source.sha256}")
    return data


def _members(deb: bytes) -> tarfile.TarFile:
    """The files inside a Debian package (an `ar` archive with a tar file in it)."""
    place = 8
    while place < len(deb):
        name, size = deb[place : place + 16].decode().strip(), int(deb[place + 48 : place + 58])
        place += 60
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=io.BytesIO(deb[place : place + size]))
        place += size + size % 2
    raise SystemExit("a Debian package without data")


def _file(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(path)
    if member is None:
        raise SystemExit(f"{path} is not a file")
    return member.read()


def _character_vectors(database: bytes) -> list[list[str]]:
    """The character vectors of R's lazy-load database: blocks of a length and a zlib stream of R's serialisation."""
    vectors = []
    place = 0
    while place < len(database):
        stream = zlib.decompressobj()
        data = stream.decompress(database[place + 4 :])
        place = len(database) - len(stream.unused_data)
        # Format mark, three version numbers, the name of the encoding, then the vector.
        at = 14
        at += 4 + struct.unpack_from(">i", data, at)[0]
        flags, count = struct.unpack_from(">ii", data, at)
        if flags & 0xFF != 16:
            raise SystemExit("not a character vector")
        at += 8
        lines = []
        for _ in range(count):
            size = struct.unpack_from(">i", data, at + 4)[0]
            lines.append(data[at + 8 : at + 8 + size].decode())
            at += 8 + size
        vectors.append(lines)
    return vectors


def _paragraphs(lines: list[str]) -> list[str]:
    """Paragraphs on one line each, without titles and chapter headings."""
    paragraphs, current = [], []
    for line in [*lines, ""]:
        if line.strip():
            current.append(line.strip())
            continue
        text = re.sub(r"\s+", " ", " ".join(current)).replace("_", "")
        current = []
        text = text.translate(str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--"}))
        # A note of the edition's, after the end.
        if text.startswith(("*Vide", "Northanger Abbey was written in")):
            continue
        # A title or a heading is all capitals or does not end as a sentence does.
        is_heading = re.match(r"(chapter|volume|finis|the end)\b", text, re.I) and len(text) < 40
        if re.search("[a-z]", text) and re.search(r"[.,;:!?\"'-]$", text) and not is_heading:
            paragraphs.append(text)
    return paragraphs


def novels(folder: Path) -> dict[str, list[str]]:
    """The paragraphs of each book."""
    database = _file(_members(_read(folder, AUSTEN)), "./usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
    books = dict(zip(NOVELS, map(_paragraphs, _character_vectors(database)), strict=True))
    archive = tarfile.open(fileobj=io.BytesIO(_read(folder, ALICE)))
    text = _file(archive, "brotli-1.2.1/tests/testdata/alice29.txt").decode("ascii").replace("\x1a", "")
    text = text[text.index("  Alice was beginning") :]
    # Its quotation marks are ` and '; an apostrophe stands between letters.
    text = re.sub(r"`|(?<![A-Za-z])'|'(?![A-Za-z])", '"', text)
    books["Alice's Adventures in Wonderland"] = [p for p in _paragraphs(text.split("\n")) if "*" not in p]
    return books


def definitions(folder: Path) -> list[tuple[str, str, str]]:
    """Part of speech, word and definition of the words that are common in WordNet's tagged texts."""
    archive = _members(_read(folder, WORDNET))
    kinds = {"1": "noun", "2": "verb", "3": "adj", "5": "adj"}
    common = set()
    for line in _file(archive, "./usr/share/wordnet/cntlist.rev").decode().splitlines():
        key, sense, count = line.split()
        word, rest = key.split("%")
        if sense == "1" and int(count) >= 3 and rest[0] in kinds and word.isalpha() and len(word) > 2:
            common.add((kinds[rest[0]], word))
    found = []
    for kind in ("noun", "verb", "adj"):
        data = _file(archive, f"./usr/share/wordnet/data.{kind}")
        for line in _file(archive, f"./usr/share/wordnet/index.{kind}").decode().splitlines():
            fields = line.split()
            if line.startswith(" ") or (kind, fields[0]) not in common:
                continue
            # The offset of the first sense follows the pointers and two counts.
            place = int(fields[6 + int(fields[3])])
            gloss = data[place : data.index(b"\n", place)].decode().split("| ", 1)[1]
            if re.search("slur|offensive|obscene|disparag|vulgar|slang", gloss):
                continue
            gloss = re.sub(r"\([^)]*\)", "", gloss.split('; "')[0].split(";")[0])
            gloss = re.sub(r"\s+", " ", gloss).strip(" :,")
            if 8 <= len(gloss) <= 110 and '"' not in gloss and gloss.isascii() and "(" not in gloss:
                found.append((kind, fields[0], gloss))
    return sorted(found)
