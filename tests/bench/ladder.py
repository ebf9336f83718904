"""What the distances see of music that is made worse, step by step, on renderings of real files.

    python -m tests.bench.ladder [archive] [soundfont]

The archive is in LMD's layout; by default, that of tests/realmidi. Of each file's middle 341 events, as of a sample of
1,024 tokens, half of the pieces are the reference and the other half are changed: the mean over 20 random halvings, and
the standard deviation.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from libretto.audio.embeddings.base import load_audio
from libretto.audio.embeddings.logmel import LogMel
from libretto.audio.render import render_folder
from libretto.scores.frechet import fad
from libretto.scores.kernel import kad
from libretto.scores.music import MUSIC_SCORES, music_distance, music_scores
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.reference import events_to_tokens, midi_to_tokens_mido, tokens_to_events
from libretto.tokens.vocab import DRUMS, PITCHES
from tests.realmidi import FOLDER

EVENTS = 341
MIN_EVENTS = 100  # the reference tokenizer's
HALVINGS = 20


def pieces(archive: str) -> list[np.ndarray]:
    """The middle events of each file that the reference's filters let pass; of files with equal notes there, one."""
    found = {}
    with tarfile.open(archive) as files:
        for member in files:
            try:
                events = tokens_to_events(midi_to_tokens_mido(files.extractfile(member).read()))
            except Exception:  # mido may raise nearly anything
                continue
            n = len(events)
            if n >= MIN_EVENTS:
                middle = events[max(0, (n - EVENTS) // 2) :][:EVENTS]
                middle[:, 0] -= middle[:, 0].min()
                found.setdefault(middle[:, 2].tobytes(), middle)
    return [*found.values()]


def with_pitches(events: np.ndarray, change, draws) -> np.ndarray:
    """The events with other pitches of all instruments but drums."""
    instruments, pitches = np.divmod(events[:, 2], PITCHES)
    changed = np.where(instruments == DRUMS, pitches, change(pitches, draws))
    return np.column_stack([events[:, :2], PITCHES * instruments + changed])


def some_transposed(pitches, draws):
    return np.where(draws.random(len(pitches)) < 0.1, pitches + np.where(pitches < 64, 6, -6), pitches)


def random_pitches(pitches, draws):
    return draws.integers(21, 109, len(pitches))  # a piano's


def all_piano(events: np.ndarray) -> np.ndarray:
    instruments, pitches = np.divmod(events[:, 2], PITCHES)
    return np.column_stack([events[:, :2], np.where(instruments == DRUMS, events[:, 2], pitches)])


def embedded(music: list[np.ndarray], soundfont: str, noise: np.random.Generator | None = None) -> dict:
    """The log-mel embeddings of each piece's rendering; or of white noise as long and as loud."""
    clips = {}
    with tempfile.TemporaryDirectory() as name:
        midi = Path(name, "midi")
        midi.mkdir()
        for index, events in enumerate(music):
            events_to_midi(events)[0].save(midi / f"{index:04d}.mid")
        for rendering in render_folder(midi, Path(name, "audio"), soundfont, 22_050, 30, processes=2):
            audio, rate = load_audio(Path(name, "audio", f"{rendering.index:04d}.flac"), None)
            if noise is not None:
                audio = noise.normal(0, np.sqrt(np.mean(audio**2)), len(audio))
            clips[rendering.index] = LogMel().embed(audio, rate)
    return clips


def by_name(music: list[np.ndarray]) -> dict[str, list[float]]:
    scores = [music_scores(events_to_tokens(events)) for events in music]
    return {name: [own[name] for own in scores if name in own] for name in MUSIC_SCORES}


def main(archive: str = str(FOLDER / "lmd.tar.gz"), soundfont: str = "/usr/share/sounds/sf2/TimGM6mb.sf2") -> None:
    """Render and print."""
    draws = np.random.default_rng(0)
    clean = pieces(archive)
    steps = {
        "nothing": clean,
        "10 % of notes transposed by a tritone": [with_pitches(piece, some_transposed, draws) for piece in clean],
        "all piano, drums as they are": [all_piano(piece) for piece in clean],
        "random pitches, drums as they are": [with_pitches(piece, random_pitches, draws) for piece in clean],
    }
    clips = {step: embedded(music, soundfont) for step, music in steps.items()}
    clips["white noise of the same loudness"] = embedded(clean, soundfont, draws)
    found = {step: [] for step in clips}
    for _ in range(HALVINGS):
        order = draws.permutation(len(clean)).tolist()
        first, second = sorted(order[::2]), sorted(order[1::2])
        reference = {index: clips["nothing"][index] for index in first}
        scores = by_name([clean[index] for index in first])
        for step, own in clips.items():
            changed = {index: own[index] for index in second}
            music = [steps[step][index] for index in second] if step in steps else None
            distance = np.nan if music is None else music_distance(by_name(music), scores)
            found[step].append((fad(changed, reference), kad(changed, reference, 0), distance))
    print(f"\n{len(clean)} pieces, {soundfont}\n")
    print("| what was changed | FAD (logmel) | KAD (logmel) | music, distance |\n|---|---|---|---|")
    for step, distances in found.items():
        columns = zip(np.mean(distances, 0), np.std(distances, 0, ddof=1), strict=True)
        cells = ("—" if np.isnan(mean) else f"{mean:.3f} ± {spread:.3f}" for mean, spread in columns)
        print(f"| {step} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
