"""A composed corpus in the forms of the real sources: LMD's archive and MidiCaps' rows, including bad files."""

import gzip
import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from libretto.standins.captions import midicaps_row
from libretto.standins.composer import TICKS_PER_BEAT, Note, Part, Piece, compose, to_midi
from libretto.tokens.vocab import DRUMS

# One song for each first digit of the MD5, two for the digits that validation and test come from.
DIGITS = "0123456789abcdefef"


@dataclass(frozen=True)
class CorpusFile:
    """A file of the archive: its name and bytes, and its row in MidiCaps (None: it has no caption)."""

    member: str
    content: bytes
    row: dict | None


def compose_corpus(songs: int, seed: int) -> list[CorpusFile]:
    """`songs` good pieces, spread over all first hex digits, and some files that the pipeline must drop.

    Args:
        songs: how many good pieces; a multiple of 18 spreads them evenly.
        seed: the same seed composes the same bytes.

    Returns:
        Files in the order of their names.
    """
    files = []
    for number in range(songs):
        rng = random.Random(f"song/{seed}/{number}")
        piece = compose(rng)
        if number == 0:
            piece = _with_slow_end(piece)
        member, content = _named(to_midi(piece), DIGITS[number % len(DIGITS)])
        files.append(CorpusFile(member, content, midicaps_row(piece, member, rng)))
    files += _bad_files(random.Random(f"bad/{seed}"))
    return sorted(files, key=lambda file: file.member)


def write_archive(files: list[CorpusFile], path: str | Path) -> None:
    """Write a tar.gz with LMD's folders; the same files give the same bytes."""
    with (
        open(path, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for folder in ["lmd_full", *sorted({file.member.rpartition("/")[0] for file in files})]:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for file in files:
            entry = tarfile.TarInfo(file.member)
            entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))


def write_captions(files: list[CorpusFile], seed: int, path: str | Path) -> None:
    """Write MidiCaps' JSON lines, shuffled: a row per captioned file, and three whose file is not in the archive."""
    rows = [file.row for file in files if file.row]
    rng = random.Random(f"rows/{seed}")
    for number in range(3):
        name = hashlib.md5(f"no such file {seed} {number}".encode()).hexdigest()
        rows.append(rng.choice(rows) | {"location": f"lmd_full/{name[0]}/{name}.mid"})
    rng.shuffle(rows)
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _named(content: bytes, digit: str | None = None) -> tuple[str, bytes]:
    """LMD's name for a file, after as many takes as it needs for an MD5 that starts with `digit`."""
    for take in range(1_000_000):
        numbered = content.replace(b"take 000000", b"take %06d" % take)
        name = hashlib.md5(numbered).hexdigest()
        if digit is None or name[0] == digit:
            return f"lmd_full/{name[0]}/{name}.mid", numbered
    raise RuntimeError("no take has the requested MD5")


def _bad_files(rng: random.Random) -> list[CorpusFile]:
    """Files that must be dropped, each for its own reason, with captions; and two good ones without a caption."""
    files = []

    def add(piece: Piece, content: bytes, captioned: bool = True) -> None:
        member, content = _named(content)
        files.append(CorpusFile(member, content, midicaps_row(piece, member, rng) if captioned else None))

    for _ in range(2):
        piece = compose(rng)
        whole = to_midi(piece)
        add(piece, whole[: len(whole) * 3 // 5])  # ends in the middle of a track
        add(piece, b"RIFF\x24\x08\x00\x00WAVEfmt " + whole[:400])  # a sound file under a MIDI file's name
        few = _first_notes(piece, 80)
        add(few, to_midi(few))
        brief = _until(piece, 8.0)
        add(brief, to_midi(brief))
        crowd = _with_programs(piece, range(40, 57))
        add(crowd, to_midi(crowd))
        add(piece, whole, captioned=False)
    add(piece, b"")
    head, signature, rest = to_midi(piece).partition(b"\xff\x59\x02")
    add(piece, head + signature + b"\x4c" + rest[1:])  # a key of 76 sharps
    return files


def _until(piece: Piece, seconds: float) -> Piece:
    """The beginning of a piece; if that is under 100 notes, each twice, so that only its length is wrong."""
    parts = [
        Part(part.role, part.program, [note for note in part.notes if piece.seconds(note.onset) < seconds])
        for part in piece.parts
    ]
    while sum(len(part.notes) for part in parts) < 120:
        parts += [
            Part(part.role, part.program, [replace(n, onset=n.onset + 5, pitch=n.pitch + 12) for n in part.notes])
            for part in parts[:2]
        ]
    return replace(piece, parts=parts)


def _first_notes(piece: Piece, count: int) -> Piece:
    """A piece of `count` notes that lasts as long as the whole one."""
    every = _in_order(piece)
    kept = every[:: -(-len(every) // count)]
    parts = [Part(p.role, p.program, [note for part, note in kept if part is p]) for p in piece.parts]
    return replace(piece, parts=[part for part in parts if part.notes])


def _with_programs(piece: Piece, programs: range) -> Piece:
    """A piece whose notes go from one program to the next: more instruments than the tokenizer's filter allows."""
    notes = [note for part, note in _in_order(piece) if part.program != DRUMS]
    cuts = [len(notes) * i // len(programs) for i in range(len(programs) + 1)]
    parts = [Part("lead", program, notes[i:j]) for program, (i, j) in zip(programs, pairwise(cuts), strict=True)]
    return replace(piece, parts=parts)


def _in_order(piece: Piece) -> list[tuple[Part, Note]]:
    notes = [(part, note) for part in piece.parts for note in part.notes]
    return sorted(notes, key=lambda item: (item[1].onset, item[1].pitch))


def _with_slow_end(piece: Piece) -> Piece:
    """A piece with a coda of bells, so slow that 85 of them take more than 100 s: a chunk that must be dropped."""
    beats = round(piece.tempo / 60 * 1.5)
    step = beats * TICKS_PER_BEAT
    lead = max(piece.parts[0].notes, key=lambda note: note.onset).pitch % 12 + 72
    scale = (0, 4, 7, 12, 7, 4)
    bells = [Note(piece.end + i * step, step - 60, lead + scale[i % 6], 70) for i in range(180)]
    return replace(piece, parts=[*piece.parts, Part("counter", 14, bells)], end=piece.end + 180 * step)
