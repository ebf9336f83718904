"""The listening page: for the first prompts of the test set, what every system made of them, to hear and to see."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pandas as pd

from libretto.audio.manifest import read_renderings
from libretto.config.systems import System
from libretto.report.piano_roll import Roll, piano_roll
from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

N_COLOURS = 9  # classes c0..c8 in style.css; drums have their own, further instruments share the last one
SAMPLE_SCORES = {"instrument_f1": "Instr. F1", "clap": "CLAP"}  # that say how a sample follows its description
OTHERS_LISTED = 6  # of the instruments of a sample that were not asked for


@dataclass(frozen=True)
class Instrument:
    """One instrument of a prompt or a sample: its colour class, and whether it was wanted and heard."""

    name: str
    colour: str
    wanted: bool
    heard: bool

    @property
    def state(self) -> str:
        """The words beside the name, so that nothing is shown by colour alone."""
        return {(True, True): "wanted, heard", (True, False): "wanted, not heard"}.get(
            (self.wanted, self.heard), "not asked for"
        )


@dataclass(frozen=True)
class Sample:
    """What one system made of one prompt.

    `audio` and `midi` are links; None if there is nothing to hear. `audio_span` is when in the music the audio begins
    and ends, in seconds: silence is trimmed. `unlisted` are instruments beyond `instruments`.
    """

    system: System
    audio: str | None
    audio_span: tuple[float, float]
    midi: str | None
    roll: Roll | None
    n_events: int
    n_invalid: int
    instruments: list[Instrument]
    unlisted: list[str]
    note: str = ""
    scores: list[tuple[str, str]] = field(default_factory=list)

    @property
    def heard(self) -> tuple[float, float]:
        """Where in the piano roll the audio begins and ends, in seconds from its first onset; may lie outside of it."""
        assert self.roll is not None  # or there is no playhead
        first = self.roll.first_onset / TICKS_PER_SECOND
        return self.audio_span[0] - first, self.audio_span[1] - first

    @property
    def silent_parts(self) -> list[tuple[float, float]]:
        """The parts of the piano roll that are not in the audio: x and width, in ticks."""
        assert self.roll is not None
        start, end = (min(max(0.0, TICKS_PER_SECOND * second), self.roll.width) for second in self.heard)
        parts = [(0.0, start), (end, self.roll.width - end)]
        return [(round(x), round(width)) for x, width in parts if width >= 1]


@dataclass(frozen=True)
class Prompt:
    """A description, what MidiCaps knows about its song, the instruments it asks for, and all systems' samples.

    One's own prompts have no song: `lmd_id` is None, and nothing is known.
    """

    number: int
    lmd_id: str | None
    text: str
    facts: list[tuple[str, str]]
    wanted: list[str]
    samples: list[Sample] = field(default_factory=list)

    @property
    def axis_seconds(self) -> float:
        """The length of the time axis that all piano rolls share; a roll of more than twice the median has its own."""
        lengths = [sample.roll.seconds for sample in self.samples if sample.roll]
        return max((length for length in lengths if length <= 2 * median(lengths)), default=1.0)

    @property
    def marked_text(self) -> list[tuple[str, str | None]]:
        """The description in pieces, each with the wanted instrument that it names, or None."""
        names = {name.lower(): name for name in self.wanted}
        if not names:
            return [(self.text, None)]
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        pieces = re.split(rf"\b({pattern})(?=s?\b)", self.text, flags=re.IGNORECASE)
        return [(piece, names.get(piece.lower())) for piece in pieces if piece]


@dataclass(frozen=True)
class Music:
    """A system's music: the rows of its tokens.parquet, its folders of MIDI and audio, what part is in each audio."""

    samples: pd.DataFrame
    midi: Path
    audio: Path
    audio_spans: Mapping[int, tuple[float, float]]

    def copy(self, index: int, folder: Path) -> dict[str, str]:
        """Copy a sample's files beside the page, so that its folder can be moved.

        Args:
            index: of the sample.
            folder: where to; created if there is something to copy.

        Returns:
            The links `audio` and `midi` from the page, which lies two folders above; each only if the file exists.
        """
        links = {}
        for kind, source in (("audio", self.audio / f"{index:04d}.flac"), ("midi", self.midi / f"{index:04d}.mid")):
            if source.exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / source.name)
                links[kind] = f"{folder.parent.name}/{folder.name}/{source.name}"
        return links


def read_music(
    systems: Sequence[System],
    samples: Sequence[str],
    midi: Sequence[str],
    audio: Sequence[str],
    audio_lists: Sequence[str],
) -> dict[str, Music]:
    """Each system's music by its name, from the paths of its files and folders in the order of the systems."""
    return {
        system.name: Music(
            pd.read_parquet(tokens),
            Path(midi_folder),
            Path(audio_folder),
            {rendering.index: (rendering.start_s, rendering.end_s) for rendering in read_renderings(audio_list)},
        )
        for system, tokens, midi_folder, audio_folder, audio_list in zip(
            systems, samples, midi, audio, audio_lists, strict=True
        )
    }


def by_notes(heard: Counter) -> list[str]:
    """The instruments of a sample, the busiest first."""
    return sorted(heard, key=lambda name: (-heard[name], name))


def colour_classes(wanted: Sequence[str], heard: Counter) -> dict[str, str]:
    """A colour class for each instrument of a sample.

    The prompt's instruments come first, so that they look the same in all its samples; then the others, busiest first.
    """
    names = [name for name in dict.fromkeys([*wanted, *by_notes(heard)]) if name != INSTRUMENT_NAMES[DRUMS]]
    classes = {name: f"c{min(i, N_COLOURS - 1)}" for i, name in enumerate(names)}
    return classes | {INSTRUMENT_NAMES[DRUMS]: "drums"}


def choose_samples(
    samples: Mapping[str, pd.DataFrame], pairs: pd.DataFrame, systems: Sequence[System], count: int
) -> list[tuple[Prompt, dict[str, int]]]:
    """The first `count` prompts of the test set, not picked by ear, each with its sample of every system.

    Args:
        samples: samples/{system}/tokens.parquet by system.
        pairs: the rows of data/pairs.parquet of these songs.
        systems: the table's rows.
        count: maximum number of prompts.

    Returns:
        Prompts, each with the row in `samples` that holds its sample, by system.
    """
    facts = pairs.drop_duplicates("lmd_id").set_index("lmd_id")
    rows_of = {  # reversed: of a prompt that occurs twice, the first sample
        system.name: {lmd_id: row for row, lmd_id in reversed([*enumerate(samples[system.name]["prompt_lmd_id"])])}
        for system in systems
    }
    first = samples[systems[0].name].head(count)
    chosen = []
    for number, (lmd_id, text) in enumerate(zip(first["prompt_lmd_id"], first["prompt"], strict=True), start=1):
        song = facts.loc[lmd_id]
        wanted = list(dict.fromkeys(midicaps_name(name) for name in _list(song["instrument_summary"])))
        prompt = Prompt(number, lmd_id, text, _facts(song), wanted)
        chosen.append((prompt, {name: rows[lmd_id] for name, rows in rows_of.items() if lmd_id in rows}))
    return chosen


def _facts(song: pd.Series) -> list[tuple[str, str]]:
    """What MidiCaps says about a song, for the line under its description; a field may be missing."""
    tempo = "" if pd.isna(song["tempo"]) else f"{song['tempo']:.0f} BPM"
    values = {
        "Genre": ", ".join(_list(song["genre"])),
        "Mood": ", ".join(_list(song["mood"])),
        "Key": song["key"],
        "Metre": song["time_signature"],
        "Tempo": tempo,
    }
    return [(name, value) for name, value in values.items() if isinstance(value, str) and value]


def _list(value: Iterable[str] | None) -> list[str]:
    return [] if value is None else list(value)


def add_music(
    prompt: Prompt,
    places: Mapping[str, int],
    systems: Sequence[System],
    music: Mapping[str, Music],
    folder: Path,
    scores: pd.DataFrame | None = None,
) -> None:
    """Append the prompt's sample of every system, and copy the files that the page plays.

    Args:
        prompt: gets the samples.
        places: by system, the row of its samples.
        systems: in the order of the page.
        music: of each system.
        folder: beside the page, for the files.
        scores: the rows of scores.parquet, if there are any.
    """
    rows = {name: music[name].samples.iloc[place] for name, place in places.items()}
    links = {name: music[name].copy(int(row["index"]), folder / name) for name, row in rows.items()}
    spans = {name: music[name].audio_spans.get(int(row["index"]), (0.0, 0.0)) for name, row in rows.items()}
    add_samples(prompt, rows, systems, links, spans, scores)


def add_samples(
    prompt: Prompt,
    rows: Mapping[str, pd.Series],
    systems: Sequence[System],
    links: Mapping[str, Mapping[str, str]],
    audio_spans: Mapping[str, tuple[float, float]],
    scores: pd.DataFrame | None = None,
) -> None:
    """Append the prompt's sample of every system.

    Args:
        prompt: gets the samples.
        rows: the sample's row of samples/{system}/tokens.parquet, by system.
        systems: in the order of the page.
        links: by system, the links `audio` and `midi`, each only where the file exists.
        audio_spans: by system, the seconds of the music at which the sample's audio begins and ends.
        scores: the rows of scores.parquet, if there are any.
    """
    events = {name: valid_events(row["tokens"])[0] for name, row in rows.items()}
    for system in systems:
        if system.name in rows:
            row, notes = rows[system.name], events[system.name][:, 2]
            heard = Counter(INSTRUMENT_NAMES[number] for number in notes // PITCHES)
            colours = colour_classes(prompt.wanted, heard)
            others = [name for name in by_notes(heard) if name not in prompt.wanted]
            prompt.samples.append(
                Sample(
                    system=system,
                    audio=links[system.name].get("audio"),
                    audio_span=audio_spans[system.name],
                    midi=links[system.name].get("midi"),
                    roll=piano_roll(events[system.name], colours),
                    n_events=int(row["n_events"]),
                    n_invalid=int(row["n_invalid"]),
                    instruments=[
                        Instrument(name, colours[name], name in prompt.wanted, name in heard)
                        for name in [*prompt.wanted, *others[:OTHERS_LISTED]]
                    ],
                    unlisted=others[OTHERS_LISTED:],
                    note="music of another song, which got this description at random"
                    if system.kind == "random-text"
                    else "",
                    scores=[] if scores is None else scores_of(scores, system.name, int(row["index"])),
                )
            )


def scores_of(scores: pd.DataFrame, system: str, index: int) -> list[tuple[str, str]]:
    """A sample's own scores, and its place among the system's samples: pairs of a heading and words."""
    found = []
    for name, heading in SAMPLE_SCORES.items():
        values = scores[(scores["system"] == system) & (scores["score"] == name)].set_index("index")["value"]
        if index in values.index:
            place = int((values > values[index]).sum()) + 1
            found.append((heading, f"{values[index]:.2f}, rank {place} of this system's {len(values)}"))
    return found
