"""Files per second of the compiled tokenizer and of mido's walk over the same files, on one core.

    python -m tests.bench.tokenize [number of synthetic files]

Without a number, the files are the real ones of tests/realmidi. Exits with 1 if tokens differ on any file or the
ratio is below 10.
"""

import argparse
import sys
import time

from libretto.tokens.compiled import midi_to_tokens_compiled
from libretto.tokens.reference import midi_to_tokens_mido
from tests.corpus import make_songs
from tests.realmidi import midi_files

REPEATS = 5  # of the compiled tokenizer, whose single run would be too short to time


def outcomes(tokenizer, files):
    """Tokens, or the name of the exception, of every file, and the seconds that it took."""
    start = time.perf_counter()
    found = []
    for data in files:
        try:
            found.append(tokenizer(data).tobytes())
        except Exception as error:
            found.append(type(error).__name__)
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int, nargs="?", help="how many synthetic files; default: the real ones")
    n_files = parser.parse_args().files
    files = list(make_songs(n_files)) if n_files else list(midi_files().values())
    outcomes(midi_to_tokens_compiled, files[:1])  # compiles, or loads the compiled code
    fast = [outcomes(midi_to_tokens_compiled, files) for _ in range(REPEATS)]
    slow, slow_seconds = outcomes(midi_to_tokens_mido, files)
    fast_seconds = sorted(seconds for _, seconds in fast)[REPEATS // 2]
    equal = sum(a == b for a, b in zip(fast[0][0], slow, strict=True))
    ratio = slow_seconds / fast_seconds
    refused = sum(isinstance(found, str) for found in slow)
    print(f"files                {len(files)} ({sum(map(len, files)) / 2**20:.1f} MiB), {refused} of them refused")
    print(f"compiled             {len(files) / fast_seconds:10.1f} files/s (median of {REPEATS} runs)")
    print(f"mido                 {len(files) / slow_seconds:10.1f} files/s")
    print(f"ratio                {ratio:10.1f}")
    print(f"same tokens/refusal  {equal} of {len(files)}")
    sys.exit(equal < len(files) or ratio < 10)


if __name__ == "__main__":
    main()
