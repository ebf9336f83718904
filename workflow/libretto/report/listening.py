"""The listening pages: what every system made of the test set's first prompts; the best and the worst of each."""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import MappingProxyType

import pandas as pd

from libretto.audio.manifest import read_renderings
from libretto.config.systems import System
from libretto.report.piano_roll import Roll, piano_roll
from libretto.report.presentation import row_name
from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.reference import valid_events
from libretto.tokens.vocab import DRUMS, PITCHES, TICKS_PER_SECOND

N_COLOURS = 9  # classes c0..c8 in style.css; drums have their own, further instruments share the last one
SAMPLE_SCORES = {"clap": "CLAP", "instrument_f1": "Instr. F1"}  # that say how a sample follows its description
FEATURE_SCORES = {"key_match": "Key", "tempo_match": "Tempo"}  # that say whether it meets a part of it
EXTREMES = 5  # of a system's samples, the best and the worst
OTHERS_LISTED = 6  # of the instruments of a sample that were not asked for


SampleScores = Mapping[tuple[str, str], pd.Series]  # a system's values of a score by the sample's index


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
    and ends, in seconds: silence is trimmed. `unlisted` are instruments beyond `instruments`. `features` says of key
    and tempo whether they are the description's, as far as that is known.
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
    features: Mapping[str, bool] = field(default_factory=dict)

    @property
    def met(self) -> dict[str, bool]:
        """What the description asks for, and whether the sample has it, as far as that is known."""
        return {i.name: i.heard for i in self.instruments if i.wanted} | dict(self.features)

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

    One's own prompts have no song: `lmd_id` is None, and nothing is known. `phrases` are further words that ask for
    something, each with its name.
    """

    number: int
    lmd_id: str | None
    text: str
    facts: list[tuple[str, str]]
    wanted: list[str]
    samples: list[Sample] = field(default_factory=list)
    phrases: Mapping[str, str] = field(default_factory=dict)

    @property
    def axis_seconds(self) -> float:
        """The length of the time axis that all its piano rolls share."""
        return axis_seconds(self.samples)

    @property
    def marked_text(self) -> list[tuple[str, str | None]]:
        """The description in pieces, each with what it asks for (an instrument, Key, Tempo), or None."""
        names = {name.lower(): name for name in self.wanted}
        names |= {phrase.lower(): name for phrase, name in self.phrases.items()}
        if not names:
            return [(self.text, None)]
        # The A of a key is no article, as in "a minor role".
        patterns = {
            phrase.lower(): f"(?-i:{phrase[0]}){re.escape(phrase[1:])}"
            for phrase, name in self.phrases.items()
            if name == "Key"
        }
        pattern = "|".join(patterns.get(name, re.escape(name)) for name in sorted(names, key=len, reverse=True))
        pieces = re.split(rf"\b({pattern})(?=s?\b)", self.text, flags=re.IGNORECASE)
        return [(piece, names.get(piece.lower())) for piece in pieces if piece]


@dataclass(frozen=True)
class Extremes:
    """A system's best samples from the best down, and its worst from the worst up, by a score of its `n` samples.

    Each sample is the only one of its description.
    """

    system: System
    score: str
    n: int
    best: list[Prompt]
    worst: list[Prompt]

    @property
    def label(self) -> str:
        """The system's name."""
        return f"{self.system.group}: {row_name(self.system)}"

    @property
    def file(self) -> str:
        """Of its page."""
        return f"best-and-worst-{self.system.name}.html"

    @property
    def axis_seconds(self) -> float:
        """The length of the time axis that all its piano rolls share."""
        return axis_seconds(prompt.samples[0] for prompt in [*self.best, *self.worst])


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


def axis_seconds(samples: Iterable[Sample]) -> float:
    """The length of a time axis that piano rolls share; a roll of more than twice the median has its own."""
    lengths = [sample.roll.seconds for sample in samples if sample.roll]
    return max((length for length in lengths if length <= 2 * median(lengths)), default=1.0)


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
    """The first `count` prompts, not picked by ear, each with its sample of every system.

    Args:
        samples: samples/{system}/tokens.parquet by system.
        pairs: the rows of data/pairs.parquet, or data/test_prompts.parquet, of these prompts.
        systems: the table's rows.
        count: maximum number of prompts.

    Returns:
        Prompts, each with the row in `samples` that holds its sample, by system.
    """
    songs = pairs.drop_duplicates("lmd_id").set_index("lmd_id")
    rows_of = {  # reversed: of a prompt that occurs twice, the first sample
        system.name: {lmd_id: row for row, lmd_id in reversed([*enumerate(samples[system.name]["prompt_lmd_id"])])}
        for system in systems
    }
    chosen = []
    # Where the config gives other descriptions than the test set's, the ground truth has none of them.
    first = max(systems, key=lambda system: system.is_sampled)
    for number, (_, row) in enumerate(samples[first.name].head(count).iterrows(), start=1):
        prompt = describe(number, row, songs)
        chosen.append((prompt, {name: rows[prompt.lmd_id] for name, rows in rows_of.items() if prompt.lmd_id in rows}))
    return chosen


def describe(number: int, row: pd.Series, songs: pd.DataFrame) -> Prompt:
    """The description of a row of samples/{system}/tokens.parquet; `songs` are rows of data/pairs.parquet by lmd_id."""
    song = songs.loc[row["prompt_lmd_id"]]
    wanted = list(dict.fromkeys(midicaps_name(name) for name in _list(song["instrument_summary"])))
    phrases = {song["key"]: "Key", song["tempo_word"]: "Tempo"}
    if not pd.isna(song["tempo"]):
        phrases |= {f"{song['tempo']:.0f} {unit}": "Tempo" for unit in ("BPM", "beats per minute")}
    phrases = {phrase: name for phrase, name in phrases.items() if isinstance(phrase, str) and phrase}
    return Prompt(number, row["prompt_lmd_id"], row["prompt"], _facts(song), wanted, phrases=phrases)


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


def find_extremes(
    system: System, music: Music, pairs: pd.DataFrame, folder: Path, scores: SampleScores
) -> Extremes | None:
    """A system's best and worst samples by the first of `SAMPLE_SCORES` that was measured; None if none was.

    Equal ones are in the test set's order, the worst from its end.

    Args:
        system: a row of the table.
        music: its music.
        pairs: the rows of data/pairs.parquet of its descriptions.
        folder: beside the page, for the files that it plays.
        scores: of the samples.
    """
    measured = [name for name in SAMPLE_SCORES if (system.name, name) in scores]
    if not measured:
        return None
    songs = pairs.drop_duplicates("lmd_id").set_index("lmd_id")
    values = scores[system.name, measured[0]].sort_values(ascending=False, kind="stable")
    count = min(EXTREMES, len(values) // 2)
    prompts = []
    for index in [*values.index[:count], *values.index[::-1][:count]]:
        place = music.samples["index"].tolist().index(index)
        prompt = describe(index + 1, music.samples.iloc[place], songs)
        add_music(prompt, {system.name: place}, [system], {system.name: music}, folder, scores)
        prompts.append(prompt)
    return Extremes(system, SAMPLE_SCORES[measured[0]], len(values), prompts[:count], prompts[count:])


def add_music(
    prompt: Prompt,
    places: Mapping[str, int],
    systems: Sequence[System],
    music: Mapping[str, Music],
    folder: Path,
    scores: SampleScores = MappingProxyType({}),
) -> None:
    """Append the prompt's sample of every system, and copy the files that the page plays.

    Args:
        prompt: gets the samples.
        places: by system, the row of its samples.
        systems: in the order of the page.
        music: of each system.
        folder: beside the page, for the files.
        scores: of the samples, if they have any.
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
    scores: SampleScores = MappingProxyType({}),
) -> None:
    """Append the prompt's sample of every system.

    Args:
        prompt: gets the samples.
        rows: the sample's row of samples/{system}/tokens.parquet, by system.
        systems: in the order of the page.
        links: by system, the links `audio` and `midi`, each only where the file exists.
        audio_spans: by system, the seconds of the music at which the sample's audio begins and ends.
        scores: of the samples, if they have any.
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
                    scores=scores_of(scores, system.name, int(row["index"])),
                    features=features_of(scores, system.name, int(row["index"])),
                )
            )


def by_sample(scores: pd.DataFrame) -> SampleScores:
    """The rows of scores.parquet as the pages need them."""
    return {key: rows.set_index("index")["value"] for key, rows in scores.groupby(["system", "score"])}


def scores_of(scores: SampleScores, system: str, index: int) -> list[tuple[str, str]]:
    """A sample's own scores, and its place among the system's samples: pairs of a heading and words."""
    found = []
    for name, heading in SAMPLE_SCORES.items():
        values = scores.get((system, name))
        if values is not None and index in values.index:
            place, equal = int((values > values[index]).sum()) + 1, int((values == values[index]).sum())
            rank = f"{place}" if equal == 1 else f"{place} to {place + equal - 1}"
            found.append((heading, f"{values[index]:.2f}, rank {rank} of {len(values)}"))
    return found


def features_of(scores: SampleScores, system: str, index: int) -> dict[str, bool]:
    """Whether a sample's key and tempo are its description's, where that was measured."""
    found = {heading: scores.get((system, name)) for name, heading in FEATURE_SCORES.items()}
    return {name: bool(values[index]) for name, values in found.items() if values is not None and index in values.index}
