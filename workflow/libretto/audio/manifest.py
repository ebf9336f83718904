"""The list of a system's audio: what became of each of its MIDI files."""

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import get_type_hints


@dataclass(frozen=True)
class Rendering:
    """What became of one MIDI file.

    Attributes:
        index: of the sample.
        seconds: length of the audio; 0 if it is silent, and then there is no FLAC.
        start_s: where in the music the audio begins, in seconds: silence is trimmed.
        end_s: where it ends.
        n_dropped: voices that FluidSynth cut off or did not start, because too many sounded.
        sha256: of the FLAC; empty if there is none.
    """

    index: int
    seconds: float
    start_s: float
    end_s: float
    n_dropped: int
    sha256: str = ""

    @property
    def is_audible(self) -> bool:
        """Whether there is a FLAC."""
        return self.seconds > 0


def write_renderings(renderings: list[Rendering], path: str | Path) -> None:
    """Write as CSV."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Rendering))
        writer.writerows(astuple(rendering) for rendering in renderings)


def read_renderings(path: str | Path) -> list[Rendering]:
    """Read what `write_renderings` wrote."""
    with open(path, newline="") as file:
        return [
            Rendering(**{name: kind(row[name]) for name, kind in get_type_hints(Rendering).items()})
            for row in csv.DictReader(file)
        ]


def audible_files(folder: str | Path, renderings: list[Rendering]) -> Iterator[tuple[int, Path]]:
    """Index and FLAC file of each audible rendering.

    Raises:
        RuntimeError: the folder's files do not match the list.
    """
    files = {index: Path(folder) / f"{index:04d}.flac" for index in (r.index for r in renderings if r.is_audible)}
    if set(files.values()) != (found := set(Path(folder).glob("*.flac"))):
        raise RuntimeError(f"{folder} holds {len(found)} FLAC files that do not match the {len(files)} of its list")
    return iter(files.items())
