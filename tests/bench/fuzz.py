"""Mutated copies of real MIDI files: each must be tokenized like the reference, or refused with its reason.

    python -m tests.bench.fuzz [copies] [seed]

Bytes are flipped, cut out and inserted, files cut off, and lengths falsified. Exits with 1 if an outcome differs
from mido's (the copy is then kept), or if a file takes over ten seconds.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from libretto.tokens.compiled import midi_to_tokens_compiled
from libretto.tokens.reference import midi_to_tokens_mido
from tests.realmidi import midi_files

LARGEST = 30_000  # bytes of an original: mido takes a second for 100 KB
MAX_SECONDS = 10


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One copy with one to four changes, mostly of single bytes."""
    copy = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4])):
        if not copy:
            break
        place = draw.randrange(len(copy))
        match draw.choices(range(6), [5, 5, 1, 1, 1, 1])[0]:
            case 0:
                copy[place] ^= 1 << draw.randrange(8)
            case 1:
                copy[place] = draw.randrange(256)
            case 2:
                del copy[place : place + draw.choice([1, 2, 3, 100])]
            case 3:
                copy[place:place] = draw.randbytes(draw.choice([1, 2, 3, 40]))
            case 4 if draw.random() < 0.2:
                del copy[place:]
            case 5:
                falsify_length(copy, draw)
    return bytes(copy)


def falsify_length(copy: bytearray, draw: random.Random) -> None:
    """Overwrite one byte of the header's or a track's length, of the number of tracks, or of the division."""
    tracks = [index for index in range(len(copy)) if copy[index : index + 4] == b"MTrk"]
    place = draw.choice([7, 11, 12, 13, *(index + 7 for index in tracks), *(index + 6 for index in tracks)])
    copy[place : place + 1] = draw.randbytes(1)


def outcome(tokenizer, data: bytes):
    """The tokens, or the name of the exception; and the seconds that it took."""
    start = time.perf_counter()
    try:
        found = tokenizer(data).tobytes()
    except Exception as error:
        found = type(error).__name__
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("copies", type=int, nargs="?", default=10_000)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    copies, seed = arguments.copies, arguments.seed
    originals = [data for data in midi_files().values() if 0 < len(data) <= LARGEST]
    draw = random.Random(seed)
    kinds, slowest, differing = Counter(), 0.0, 0
    for number in tqdm(range(copies), unit=" files", mininterval=5):
        data = mutate(draw.choice(originals), draw)
        (ours, seconds), (theirs, _) = outcome(midi_to_tokens_compiled, data), outcome(midi_to_tokens_mido, data)
        slowest = max(slowest, seconds) if number else 0.0  # the first one compiles
        kinds[theirs if isinstance(theirs, str) else "tokens"] += 1
        if ours != theirs:
            differing += 1
            Path(f"differs-{seed}-{number}.mid").write_bytes(data)
    for kind, count in kinds.most_common():
        print(f"{kind:20} {count:6}")
    print(f"differing            {differing:6} of {copies} copies of {len(originals)} files")
    print(f"slowest              {slowest:10.3f} s")
    sys.exit(differing > 0 or slowest > MAX_SECONDS)


if __name__ == "__main__":
    main()
