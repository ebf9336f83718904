"""Rendering against the `fluidsynth` command: dense random samples, seconds of CPU, notes that were dropped.

python -m tests.bench.render [samples] [soundfont]
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from libretto.audio.render import render_folder
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.vocab import INSTRUMENTS, PITCHES

EVENTS = 341  # of a sample of 1,024 tokens


def write_samples(folder: Path, n: int) -> int:
    """`n` MIDI files of random events within half a second to 100 s; returns how many notes another program plays."""
    draws = np.random.default_rng(0)
    n_substituted = 0
    for index in range(n):
        bounds = (draws.choice([50, 500, 2_000, 10_000]), 1_000, INSTRUMENTS * PITCHES)
        midi, substituted = events_to_midi(draws.integers(0, bounds, (EVENTS, 3)))
        midi.save(folder / f"{index:04d}.mid")
        n_substituted += substituted
    return n_substituted


def cpu_seconds() -> float:
    """Of this process's children so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(n: int = 100, soundfont: str = "/usr/share/sounds/sf2/TimGM6mb.sf2") -> None:
    """Render and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "midi")
        folder.mkdir()
        n_substituted = write_samples(folder, n)
        start = cpu_seconds()
        # One at a time, as the command: two that share a core's units would each need more of its time.
        renderings = render_folder(folder, Path(name, "audio"), soundfont, 22_050, 30, processes=1)
        ours = cpu_seconds() - start
        start = cpu_seconds()
        failures = 0
        for file in sorted(folder.iterdir()):
            command = ["fluidsynth", "-ni", "-g", "0.2", "-r", "44100", "-F", f"{name}/out.wav", soundfont, str(file)]
            failures += subprocess.run(command, capture_output=True, text=True).stderr.count("Failed to allocate")
        theirs = cpu_seconds() - start
    print(f"{n} samples of {EVENTS} notes, {sum(r.seconds for r in renderings):.0f} s of audio, {soundfont}")
    print(f"notes that another program plays: {n_substituted} of {n * EVENTS}")
    print(f"voices dropped: {sum(r.n_dropped for r in renderings)}; by the command with its 256, at least {failures}")
    print(f"seconds of CPU: {ours:.1f}, the command {theirs:.1f}, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main(*(int(sys.argv[1]) if sys.argv[1:] else 100, *sys.argv[2:]))
