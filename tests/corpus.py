"""Synthetic songs and an archive of them in LMD's form, of any size, written as a stream."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TRACKS = 4


def make_song(draws: np.random.Generator, n_notes: int) -> bytes:
    """A file of four tracks (the last one drums) of random notes, each under one second long."""
    tracks = []
    for index in range(TRACKS):
        channel = 9 if index == TRACKS - 1 else index
        messages = np.empty((max(1, n_notes // TRACKS), 2, 4), np.uint8)  # on, off: delta, status, pitch, velocity
        messages[:, :, 0] = draws.integers(0, 120, messages.shape[:2])
        messages[:, :, 1] = 0x90 | channel
        messages[:, :, 2] = draws.integers(36, 84, len(messages))[:, None]
        messages[:, :, 3] = [80, 0]
        body = bytes([0, 0xC0 | channel, draws.integers(0, 128)]) + messages.tobytes() + b"\x00\xff\x2f\x00"
        tracks.append(b"MTrk" + struct.pack(">L", len(body)) + body)
    return b"MThd" + struct.pack(">Lhhh", 6, 1, TRACKS, 480) + b"".join(tracks)


def make_songs(n_files: int, seed: int = 0, median_notes: int = 3_000) -> Iterator[bytes]:
    """Songs of uneven sizes, as in LMD; one in twenty is cut off, one in fifty is text, one in fifty has 40 notes."""
    draws = np.random.default_rng(seed)
    for index in range(n_files):
        n_notes = int(np.clip(median_notes * draws.lognormal(0, 0.7), 400, 20 * median_notes))
        data = make_song(draws, 40 if index % 50 == 1 else n_notes)
        if index % 20 == 3:
            data = data[: len(data) // 2]
        yield f"no MIDI file {index}".encode() if index % 50 == 2 else data


def write_archive(archive: Path, captions: Path, n_files: int, **settings) -> None:
    """`lmd_full/<hex>/<md5>.mid` in a tar.gz, and MidiCaps' rows in another order; one in thirty has none."""
    rows = []
    with (
        gzip.GzipFile(filename="", fileobj=open(archive, "wb"), mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|") as tar,
    ):
        for index, data in enumerate(make_songs(n_files, **settings)):
            lmd_id = hashlib.md5(data).hexdigest()
            info = tarfile.TarInfo(f"lmd_full/{lmd_id[0]}/{lmd_id}.mid")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            if index % 30:
                rows.append({"location": info.name, "caption": f"Song {index}.", "genre": ["pop"], "tempo": 120})
    order = np.random.default_rng(1).permutation(len(rows))
    captions.write_text("".join(json.dumps(rows[index]) + "\n" for index in order))
