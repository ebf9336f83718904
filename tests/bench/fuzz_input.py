"""Archives with hostile headers and rows with hostile captions: each is read, or refused as an `InputError`.

    python -m tests.bench.fuzz_input [headers] [files] [seed]

The headers' checksums are right, so that readers believe them. Exits with 1 if something else happens, if a file
takes over a second of CPU time, or if a text keeps a control character or half a surrogate pair.
"""

import argparse
import gzip
import json
import random
import signal
import sys
import tarfile
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from libretto.data.archive import read_archive
from libretto.data.pairs import pair, read_midicaps
from libretto.errors import InputError

MAX_SECONDS = 1
FINE = {"archives", "headers", "song", "no-file", "unsafe-name", "name", "size", "duplicate", "refused"}
FINE |= {"files", "pair", "no-caption", "no-midi", "no-midicaps-row"}
SPLIT_OF = dict.fromkeys("0123456789abcd", "train") | {"e": "valid", "f": "test"}

KEYS = ["path", "size", "linkpath", "mtime", "uid", "comment", "hdrcharset"]
KEYS += ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "GNU.sparse.realsize", "GNU.sparse.numbytes"]
ORDINARY = [("path", "lmd_full/é.mid"), ("mtime", "1.5"), ("uid", "1000"), ("comment", "hello"), ("uname", "anna")]
VALUES = ["-1", "0", "1", "-512", "99999999999", str(1 << 62), "1" * 40, "9" * 3_000, "1e400", "nan", "inf", "1.5"]
VALUES += ["", "../x", "0,1,2", "\udcff", "BINARY", "\0", "\n"]
KINDS = [tarfile.REGTYPE] * 4 + [bytes([kind]) for kind in b"\x00157SLKxgXDZ"]
EXTENDED = [bytes([kind]) for kind in b"xxxggXLK"]

TEXTS = ["A song.", "", " ", "\0", "a\0b", "\x1b[31mred", "\x07\x08", "\x0b\x0c", "\x7f\x85\x9f", "a\tb\r\nc", "\u2028"]
TEXTS += ["\ud83d", "\ude00\ud83d", "\U0001f3b5", "e\u0301", "\u202etxt", "\ufeff", "\uffff", "\U0010ffff"]
TEXTS += ["<script>alert(1)</script>", "{{ 7*7 }}", "<|eot_id|>", "%s%n", "$(touch x)", "../" * 50, "x" * 10_000]
OTHERS = [None, True, 7, -1.5, float("nan"), float("inf"), 10**400, [], ["a\0", 1, None], {}, {"a": "\0"}]
FEATURES = ["genre", "mood", "key", "time_signature", "tempo", "tempo_word", "duration", "instrument_summary"]
LINES = ["", "{", "[" * 50_000, "null", "7", '["a"]', "[{}]", '"\0"', "{}", "\ufeff{}", "x" * 5_000_000]
LINES += ['{"location": 7, "caption": ""}', '{"caption": ' + "9" * 5_000 + "}", '{"location": "\0", "caption": "a\0b"}']


def header(name: str, size: int, kind: bytes) -> bytearray:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return bytearray(info.tobuf(tarfile.GNU_FORMAT))


def padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 512)


def with_checksum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_record(key: str, value: str) -> bytes:
    """`<length> <key>=<value>` and a newline, the length being that of the whole record."""
    record = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(record)
    while len(str(length)) + len(record) != length:
        length = len(str(length)) + len(record)
    return str(length).encode() + record


def extended_header(draw: random.Random) -> bytes:
    """A PAX header or a GNU long name: ordinary, nonsense, or one of the known attacks."""
    match draw.randrange(10):
        case 0:
            content = b"1" * draw.choice([100, 4_000, 65_536])
        case 1:
            content = b"".join(pax_record(f"k{draw.random()}", "v") for _ in range(draw.choice([100, 2_000])))
        case 2 | 3 | 4:
            content = bytearray(b"".join(pax_record(draw.choice(KEYS), draw.choice(VALUES)) for _ in range(3)))
            if draw.random() < 0.2:
                content[draw.randrange(len(content))] = draw.randrange(256)
        case _:
            content = b"".join(pax_record(*draw.choice(ORDINARY)) for _ in range(3))
    block = header("header", len(content), draw.choice(EXTENDED))
    if draw.random() < 0.05:
        falsify_size(block, draw)
    return with_checksum(block) + padded(bytes(content))


def falsify_size(block: bytearray, draw: random.Random) -> None:
    block[124:136] = draw.choice(
        [b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, b"\xff" * 12, b"77777777777\0", b"-7".ljust(12)]
    )


def member(draw: random.Random) -> bytes:
    """A member's header with up to three bytes changed, and content that may not fit it."""
    size = draw.choice([0, 26, 512, 1_000])
    block = header(f"lmd_full/0/{draw.getrandbits(128):032x}.mid", size, draw.choice(KINDS))
    for _ in range(draw.choice([0, 0, 0, 1, 3])):
        place = draw.choice([*range(100, 148), 156, *range(257, 265), *range(345, 500)])
        block[place] = draw.choice([0, 0x80, 0xFF, *b"07 -", draw.randrange(256)])
    if draw.random() < 0.05:
        falsify_size(block, draw)
    return with_checksum(block) + padded(draw.randbytes(size if draw.random() < 0.8 else 512))


def hostile_archive(draw: random.Random) -> tuple[bytes, int]:
    """A tar.gz of a good song and hostile headers; and how many."""
    parts = [with_checksum(header(f"{draw.getrandbits(128):032x}.mid", 4, tarfile.REGTYPE)), padded(b"MThd")]
    headers = 0
    for _ in range(draw.choice([1, 1, 2, 5])):
        extended = draw.choice([0, 1, 1, 2])
        if draw.random() < 0.01:
            parts += [extended_header(draw)] * 200
            headers += 1  # the same one again and again
        parts += [*(extended_header(draw) for _ in range(extended)), member(draw)]
        headers += extended + 1
    parts.append(bytes(draw.choice([0, 512, 10_240, 10_240, 10_240])))
    return gzip.compress(b"".join(parts), 1), headers


def hostile_text(draw: random.Random) -> str:
    """Two to five texts run together, or as many code points of any kind."""
    length = draw.randint(2, 5)
    return "".join(
        chr(draw.choice([draw.randrange(0x100), draw.randrange(0x110000)]))
        if draw.random() < 0.5
        else draw.choice(TEXTS)
        for _ in range(length)
    )


def hostile_captions(draw: random.Random) -> bytes:
    """A `train.json` of one to three rows with hostile captions and features, sometimes with a bad line."""
    lines = []
    for index in range(draw.randint(1, 3)):
        values = [draw.choice(OTHERS) if draw.random() < 0.3 else hostile_text(draw) for _ in FEATURES]
        row = dict(zip(FEATURES, values, strict=True)) | {"location": f"lmd_full/0/{draw.choice([0, index]):032x}.mid"}
        row["caption"] = draw.choice(OTHERS) if draw.random() < 0.1 else hostile_text(draw)
        lines.append(json.dumps(row))
    if draw.random() < 0.1:
        lines.append(draw.choice(LINES))
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return content + b"\xff" if draw.random() < 0.02 else content


def read_all(path: Path) -> Iterator[str]:
    """The outcome of each member."""
    for found in read_archive(path):
        yield "song" if found.reason is None else found.reason


def pair_all(path: Path) -> Iterator[str]:
    """The outcome of each row; every row has a song in the archive."""
    members = [{"lmd_id": f"{index:032x}", "member": f"{index:032x}.mid", "reason": None} for index in range(3)]
    losses = []
    for song in pair(read_midicaps(path), members, SPLIT_OF, losses.append):
        yield "control character" if any(is_broken(value) for value in song.values()) else "pair"
    yield from (loss["reason"] for loss in losses if loss["row"] is not None)


def is_broken(value) -> bool:
    """Whether a value holds a control character or half a surrogate pair, by Unicode's own tables."""
    if isinstance(value, list):
        return any(map(is_broken, value))
    return isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in value)


def outcomes(reader, path: Path, content: bytes) -> tuple[list[str], float]:
    """What `reader` makes of a file: an outcome for each member or row, the last may be an error; and CPU seconds."""
    path.write_bytes(content)
    found = []
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    start = time.process_time()
    try:
        for outcome in reader(path):
            found.append(outcome)
    except InputError as error:
        found.append("refused" if "\n" not in str(error) else "refused in more than a line")
    except TimeoutError:
        found.append("over a second")
    except Exception as error:
        found.append(type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return found, time.process_time() - start


def stop(number, frame):
    raise TimeoutError


def fuzz_archives(headers: int, seed: int, folder: Path) -> tuple[Counter, float]:
    """At least this many headers: the outcomes, and the CPU seconds of the slowest archive."""
    draw = random.Random(seed)
    kinds, slowest, count = Counter(), 0.0, 0
    while count < headers:
        content, added = hostile_archive(draw)
        found, seconds = outcomes(read_all, folder / "hostile.tar.gz", content)
        count += added
        kinds.update(["archives", *found])
        slowest = max(slowest, seconds)
    return kinds + Counter(headers=count), slowest


def fuzz_captions(files: int, seed: int, folder: Path) -> tuple[Counter, float]:
    """The outcomes of this many files, and the CPU seconds of the slowest."""
    draw = random.Random(seed)
    kinds, slowest = Counter(files=files), 0.0
    for _ in range(files):
        found, seconds = outcomes(pair_all, folder / "train.json", hostile_captions(draw))
        kinds.update(found)
        slowest = max(slowest, seconds)
    return kinds, slowest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("headers", type=int, nargs="?", default=2_000)
    parser.add_argument("files", type=int, nargs="?", default=5_000)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    bad = set()
    with tempfile.TemporaryDirectory() as folder:
        for fuzz, count in ((fuzz_archives, arguments.headers), (fuzz_captions, arguments.files)):
            kinds, slowest = fuzz(count, arguments.seed, Path(folder))
            print(fuzz.__name__)
            for kind, number in kinds.most_common():
                print(f"  {kind:20} {number:6}")
            print(f"  slowest              {slowest:6.3f} s")
            bad |= set(kinds) - FINE
    print("bad:", ", ".join(sorted(bad)) or "none")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
