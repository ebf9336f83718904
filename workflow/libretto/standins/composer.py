"""Composes short multi-track pieces: a form of sections over chord progressions, with a melody built from motifs."""

import io
import random
from bisect import bisect_right
from dataclasses import dataclass

import mido

from libretto.standins import styles
from libretto.standins.harmony import KEY_NAMES, Chord, chord, nearest, progression, random_key, scale_step, voicing
from libretto.standins.styles import BASS, BEAT_STEPS, COMP, RHYTHMS, STEPS, STYLES, Style
from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.vocab import DRUMS

TICKS_PER_BEAT = 480
TICKS_PER_STEP = TICKS_PER_BEAT // 4

SECONDS = (20, 60)
NOTES = (150, 1200)

_FORMS = {
    1: ("A",),
    2: ("AB", "AA"),
    3: ("ABA", "AAB"),
    4: ("AABA", "ABAB", "AABB"),
    5: ("AABBA", "ABABA", "AABAB"),
    6: ("AABBAA", "AABABA", "ABACAB"),
    7: ("AABAABA", "ABACABA"),
    8: ("AABBAABB", "AABACABA", "AABBCCAA"),
}
_CADENCES = {
    "4/4": ("0+8", "0+4 4+8", "0+2 2+2 4+8", "0+12"),
    "3/4": ("0+8", "0+4 4+6", "0+10"),
    "6/8": ("0+10", "0+6 6+4", "0+4 4+2 6+4"),
}
_LEAD_CENTRES = {30: 66, 65: 69, 73: 79, 78: 84, 40: 76, 110: 76, 56: 70, 22: 70}
_COMP_CENTRES = {25: 57, 27: 58, 29: 48, 45: 62}
_VELOCITIES = {"lead": 98, "double": 76, "counter": 74, "comp": 76, "bass": 92, "pad": 62}
_HITS = {"x": 104, "o": 84, "-": 54}
_FILLS = ("ssss", "s.ss", "hhmm", "shml", "s.hl", "sshm")
_FILL_DRUMS = {"s": styles.SNARE, "h": styles.HIGH_TOM, "m": styles.MID_TOM, "l": styles.LOW_TOM}


@dataclass(frozen=True)
class Note:
    """A note: onset and length in MIDI ticks, MIDI pitch (for drums: which drum) and velocity."""

    onset: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one instrument plays.

    Attributes:
        role: `lead`, `double`, `counter`, `comp`, `bass`, `pad` or `drums`.
        program: of General MIDI; 128 for drums.
        notes: by onset.
    """

    role: str
    program: int
    notes: list[Note]


@dataclass(frozen=True)
class Piece:
    """A composed piece.

    Attributes:
        style: what it was drawn from.
        key: such as `F# minor`.
        metre: time signature.
        tempo: quarter notes a minute.
        parts: at least two.
        chords: tick and name of every chord, one after the other.
        loop: names of the main progression's chords.
        loops: how often that progression is played.
        end: tick of the last bar line.
    """

    style: Style
    key: str
    metre: str
    tempo: int
    parts: list[Part]
    chords: list[tuple[int, str]]
    loop: tuple[str, ...]
    loops: int
    end: int

    def seconds(self, tick: int) -> float:
        """When `tick` is played."""
        return tick * 60 / self.tempo / TICKS_PER_BEAT


@dataclass(frozen=True)
class _Bar:
    """A bar of the form: section `A`.., `intro` or `end`; which unit of the form; where in the unit; its chords."""

    section: str
    unit: int
    position: int
    length: int
    chords: list[Chord]


def compose(rng: random.Random) -> Piece:
    """A piece of 20 to 60 s and 150 to 1,200 notes in a style of `rng`'s choice."""
    style = rng.choice(STYLES)
    seed = rng.getrandbits(64)
    target = rng.uniform(26, 52)
    for attempt in range(24):
        piece = _Session(style, random.Random(seed + attempt), target).play()
        if _fits(piece):
            return piece
        # A busy style at a fast tempo can have too many notes: try a shorter piece, with other players.
        target = max(24.0, target - 3) if len(_notes(piece)) > NOTES[1] else min(54.0, target + 3)
    raise RuntimeError(f"no piece of style {style.name} within the limits")


def _notes(piece: Piece) -> list[Note]:
    return [note for part in piece.parts for note in part.notes]


def _fits(piece: Piece) -> bool:
    notes = _notes(piece)
    last = max(piece.seconds(note.onset + note.length) for note in notes)
    return NOTES[0] <= len(notes) <= NOTES[1] and SECONDS[0] <= last <= SECONDS[1]


class _Session:
    """The choices for one piece, and the players who carry them out."""

    def __init__(self, style: Style, rng: random.Random, target: float):
        self.style, self.rng = style, rng
        self.metre = style.metre
        self.steps, self.beat = STEPS[self.metre], BEAT_STEPS[self.metre]
        self.tempo = style.tempo
        self.mode = rng.choice([mode for mode in ("major", "minor") if getattr(style, mode)])
        self.tonic = random_key(rng, self.mode)
        self.bars = self._form(target)

    def play(self) -> Piece:
        """Let everybody play."""
        rng, style = self.rng, self.style
        lead = rng.choice(style.lead)
        melody = self._melody(lead)
        parts = [Part("lead", lead, melody)]
        comps = [comp for comp in style.comp if comp[0] != lead] or list(style.comp)
        for entry, (program, pattern) in enumerate(rng.sample(comps, min(len(comps), rng.choice((1, 2, 2))))):
            parts.append(Part("comp", program, self._comp(program, pattern, entry)))
        if style.bass:
            program, pattern = rng.choice(style.bass)
            parts.append(Part("bass", program, self._bass(program, pattern)))
        if style.pad and rng.random() < 0.6:
            program = rng.choice(style.pad)
            parts.append(Part("pad", program, self._pad()))
        if style.counter and rng.random() < 0.55:
            programs = [p for p in style.counter if p != lead]
            if programs:
                parts.append(Part("counter", rng.choice(programs), self._counter()))
        if rng.random() < 0.3:
            programs = [p for p in style.lead if p not in {part.program for part in parts}]
            if programs:
                parts.append(Part("double", rng.choice(programs), self._double(melody)))
        if style.drums and rng.random() < 0.94:
            parts.append(Part("drums", DRUMS, self._drums(rng.choice(style.drums))))
        parts = [Part(part.role, part.program, _trim(part.notes)) for part in parts if part.notes]
        loop = [bar for bar in self.bars if bar.section == "A" and bar.unit == self._first_unit("A")]
        names = [harmony.name for bar in loop for harmony in bar.chords]
        return Piece(
            style=style,
            key=f"{KEY_NAMES[self.mode][self.tonic]} {self.mode}",
            metre=self.metre,
            tempo=self.tempo,
            parts=parts,
            chords=self._chord_times(),
            loop=tuple(name for i, name in enumerate(names) if i == 0 or name != names[i - 1]),
            loops=len({bar.unit for bar in self.bars if bar.section == "A"}),
            end=self._tick(len(self.bars), 0),
        )

    def _form(self, target: float) -> list[_Bar]:
        """The bars of the piece: perhaps an introduction, sections of one progression each, a last chord."""
        rng = self.rng
        lines = list(getattr(self.style, self.mode))
        rng.shuffle(lines)
        sections = {letter: lines[i % len(lines)] for i, letter in enumerate("ABC")}
        sections = {letter: progression(line, self.tonic, self.mode) for letter, line in sections.items()}
        length = len(sections["A"])
        bar_seconds = self.steps / 4 * 60 / self.tempo
        units = min(max(_FORMS), max(1, round(target / bar_seconds / length)))
        intro = rng.choice((0, 2, 4)) if units < max(_FORMS) and units * length > 4 else 0
        bars = [_Bar("intro", -1, i, intro, sections["A"][i % length]) for i in range(intro)]
        for unit, letter in enumerate(rng.choice(_FORMS[units])):
            bars += [_Bar(letter, unit, i, length, chords) for i, chords in enumerate(sections[letter])]
        home = chord("I" if self.mode == "major" else "i", self.tonic, self.mode)
        return [*bars, _Bar("end", units, 0, 1, [home])]

    def _first_unit(self, section: str) -> int:
        return next(bar.unit for bar in self.bars if bar.section == section)

    def _tick(self, bar: int, step: float) -> int:
        """MIDI tick of a step, swung where the style swings."""
        ticks = step * TICKS_PER_STEP
        if self.style.swing != 1 / 2 and self.metre == "4/4":
            beats, rest = divmod(step, 4)
            swing = self.style.swing
            share = rest / 2 * swing if rest <= 2 else swing + (rest - 2) / 2 * (1 - swing)
            ticks = (beats + share) * TICKS_PER_BEAT
        return round(bar * self.steps * TICKS_PER_STEP + ticks)

    def _note(self, bar: int, step: int, length: int, pitch: int, role: str) -> Note:
        onset = self._tick(bar, step)
        accent = 8 if step == 0 else 3 if step % self.beat == 0 else 0
        velocity = _VELOCITIES[role] + accent + self.rng.randint(-5, 5)
        return Note(onset, self._tick(bar, step + length) - onset, pitch, min(127, velocity))

    def _harmony(self, bar: _Bar, step: int) -> Chord:
        return bar.chords[min(step, self.steps - 1) * len(bar.chords) // self.steps]

    def _chord_times(self) -> list[tuple[int, str]]:
        times: list[tuple[int, str]] = []
        for number, bar in enumerate(self.bars):
            for i, harmony in enumerate(bar.chords):
                if not times or times[-1][1] != harmony.name:
                    times.append((self._tick(number, i * self.steps // len(bar.chords)), harmony.name))
        return times

    def _cell(self, rhythm: str) -> list[tuple[int, int, int]]:
        """A bar's motif: step, length, and the contour in scale steps from the bar's first note."""
        cell, offset = [], 0
        for i, item in enumerate(rhythm.split()):
            step, length = map(int, item.split("+"))
            if i:
                offset += self.rng.choice((-2, -1, -1, 1, 1, 2) if abs(offset) < 3 else (-1,) if offset > 0 else (1,))
            cell.append((step, length, offset))
        return cell

    def _phrases(self, length: int) -> list[list[tuple[int, int, int]]]:
        """The motifs of a section: phrases of four bars, of which the last rests on a cadence."""
        rng = self.rng
        rhythms = RHYTHMS[self.metre][rng.choice(self.style.rhythm)]
        first, second = (self._cell(rng.choice(rhythms)) for _ in "ab")
        plan = rng.choice(((first, second, first), (first, first, second), (first, second, second)))
        bars: list[list[tuple[int, int, int]]] = []
        while len(bars) < length:
            bars += [*plan, self._cell(rng.choice(_CADENCES[self.metre]))]
            if rng.random() < 0.4:
                plan = (plan[0], plan[1], self._cell(rng.choice(rhythms)))
        return bars[:length]

    def _melody(self, program: int) -> list[Note]:
        """The lead: every section's own motifs, fitted to its chords, the same again where the section returns."""
        rng = self.rng
        centre = _LEAD_CENTRES.get(program, 72)
        motifs = {bar.section: self._phrases(bar.length) for bar in self.bars if bar.unit >= 0 and bar.section != "end"}
        lift = {"A": 0, "B": 3, "C": -2}
        arc = (0, 1, 3, 0)
        notes: list[Note] = []
        realised: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
        previous = nearest(self.bars[-1].chords[0].tones[rng.choice((0, 1, 2))], centre)
        for number, bar in enumerate(self.bars):
            if bar.section == "intro":
                continue
            if bar.section == "end":
                pitch = nearest(bar.chords[0].root, previous)
                notes.append(self._note(number, 0, self.steps * 3 // 4, pitch, "lead"))
                continue
            closes = bar.position == bar.length - 1
            if (bar.section, bar.position) not in realised or closes:
                target = centre + lift[bar.section] + arc[bar.position % 4]
                cadence = closes and bar.unit % 2 == 1
                line = self._line(motifs[bar.section][bar.position], bar, previous, target, centre, cadence)
                realised[bar.section, bar.position] = line
            for step, length, pitch in realised[bar.section, bar.position]:
                notes.append(self._note(number, step, length, pitch, "lead"))
                previous = pitch
        return notes

    def _line(self, cell, bar: _Bar, previous: int, target: float, centre: int, cadence: bool):
        """A motif as pitches: it starts on a chord tone near where the melody is, strong beats have chord tones."""
        anchor = _chord_tone(self._harmony(bar, cell[0][0]), (previous + target) / 2)
        line = []
        for i, (step, length, offset) in enumerate(cell):
            harmony = self._harmony(bar, step)
            pitch = scale_step(anchor, offset, harmony.scale)
            if step % self.beat == 0 or length >= self.beat or i == len(cell) - 1:
                pitch = _chord_tone(harmony, pitch)
            if cadence and i == len(cell) - 1:
                pitch = nearest(self.tonic if self.tonic in harmony.tones else harmony.root, pitch)
            while pitch > centre + 9:
                pitch -= 12
            while pitch < centre - 8:
                pitch += 12
            line.append((step, length, pitch))
        return line

    def _double(self, melody: list[Note]) -> list[Note]:
        """A second voice, a third below the lead, in the last third of the piece."""
        start = self._tick(len(self.bars) * 2 // 3, 0)
        notes = []
        for note in melody:
            if note.onset >= start:
                bar, rest = divmod(note.onset, self.steps * TICKS_PER_STEP)
                harmony = self._harmony(self.bars[bar], rest // TICKS_PER_STEP)
                pitch = scale_step(note.pitch, -2, harmony.scale)
                if note.length >= TICKS_PER_STEP * self.beat and pitch % 12 not in harmony.tones:
                    pitch = _chord_tone(harmony, pitch - 1)
                notes.append(Note(note.onset, note.length, pitch, max(40, note.velocity - 20)))
        return notes

    def _counter(self) -> list[Note]:
        """A slow voice below the lead: thirds and sevenths of the chords, moving as little as possible."""
        notes: list[Note] = []
        pitch = 62
        for number, bar in enumerate(self.bars):
            if bar.unit < 1 and bar.section != "end":
                continue
            halves = max(len(bar.chords), 1 if bar.section == "end" else self.rng.choice((1, 1, 2)))
            for half in range(halves):
                step = half * self.steps // halves
                harmony = self._harmony(bar, step)
                guides = [nearest(tone, 62) for tone in harmony.tones[1:]]
                guides = [p for p in guides if p != pitch] or guides
                pitch = min(guides, key=lambda p: abs(p - pitch))
                notes.append(self._note(number, step, self.steps // halves, pitch, "counter"))
        return notes

    def _comp(self, program: int, pattern: str, entry: int) -> list[Note]:
        """Chords in the style's rhythm; the second comping instrument comes in later."""
        centre = _COMP_CENTRES.get(program, 60)
        notes = []
        for number, bar in enumerate(self.bars):
            if entry and bar.unit < 1:
                continue
            if bar.section == "end":
                notes += [self._note(number, 0, self.steps * 3 // 4, p, "comp") for p in voicing(bar.chords[0], centre)]
                continue
            for tone, step, length in _pattern(COMP[pattern]):
                harmony = self._harmony(bar, step)
                voices = voicing(harmony, centre)
                if tone == "c":
                    pitches = voices[:4] if len(harmony.tones) > 3 else voices[:3]
                elif tone == "p":
                    root = nearest(harmony.root, centre)
                    pitches = [root, root + 7, root + 12] if step == 0 else [root, root + 7]
                elif tone == "b":
                    pitches = [nearest(harmony.root, centre - 12)]
                else:
                    pitches = [voices[int(tone) - 1]]
                notes += [self._note(number, step, length, pitch, "comp") for pitch in pitches]
        return notes

    def _bass(self, program: int, pattern: str) -> list[Note]:
        centre = 46 if program == 42 else 38  # a cello
        notes = []
        for number, bar in enumerate(self.bars):
            if bar.section == "intro" and bar.position < bar.length // 2:
                continue
            if bar.section == "end":
                root = nearest(bar.chords[0].root, centre)
                notes.append(self._note(number, 0, self.steps * 3 // 4, root, "bass"))
                continue
            following = self.bars[number + 1].chords[0]
            for tone, step, length in _pattern(BASS[pattern]):
                harmony = self._harmony(bar, step)
                root = nearest(harmony.root, centre)
                if (
                    self._harmony(bar, step) is not self._harmony(bar, max(0, step - self.beat))
                    and step % self.beat == 0
                ):
                    tone = "R"  # a new chord in mid-bar starts from its root
                if tone == "a":
                    goal = nearest(following.root, centre)
                    pitch = self.rng.choice(
                        (goal - 1, scale_step(goal, 1, harmony.scale), scale_step(goal, -1, harmony.scale))
                    )
                    pitch = pitch if following.root != harmony.root else root + 7
                else:
                    third = (harmony.tones[1] - harmony.root) % 12
                    fifth = (harmony.tones[2] - harmony.root) % 12
                    pitch = root + {"R": 0, "3": third, "5": fifth, "8": 12}[tone]
                pitch = pitch - 12 if pitch > centre + 14 else pitch
                notes.append(self._note(number, step, length, pitch, "bass"))
        return notes

    def _pad(self) -> list[Note]:
        """Held chords, from the introduction or the second section on."""
        enters = self.rng.choice((-1, 1, 1))
        notes = []
        for number, bar in enumerate(self.bars):
            if bar.unit < enters:
                continue
            size = self.steps // len(bar.chords)
            for i, harmony in enumerate(bar.chords):
                notes += [self._note(number, i * size, size, p, "pad") for p in voicing(harmony, 64)[:3]]
        return notes

    def _drums(self, pattern: str) -> list[Note]:
        rng = self.rng
        beats = styles.DRUMS[pattern]
        fills = self.steps == 16 and styles.SNARE in beats
        crash = bool({styles.KICK, styles.SNARE} <= set(beats))
        notes = []
        for number, bar in enumerate(self.bars):
            if bar.section == "end":
                hits = {(styles.KICK, 0): "o"} | ({(styles.CRASH, 0): "o"} if crash else {})
            else:
                quiet = bar.section == "intro" and bar.position < bar.length // 2
                hits = {
                    (drum, step): hit
                    for drum, line in beats.items()
                    for step, hit in enumerate(line)
                    if hit != "." and not (quiet and drum in (styles.KICK, styles.SNARE))
                }
                last = bar.position == bar.length - 1
                if fills and last and bar.unit >= -1 and rng.random() < 0.75:
                    hits = {key: hit for key, hit in hits.items() if key[1] < 12}
                    for i, letter in enumerate(rng.choice(_FILLS)):
                        if letter != ".":
                            hits[_FILL_DRUMS[letter], 12 + i] = "o"
                if crash and bar.position == 0 and bar.unit >= 0 and bar.unit % 2 == 0:
                    hits[styles.CRASH, 0] = "o"
            for (drum, step), hit in sorted(hits.items(), key=lambda item: (item[0][1], item[0][0])):
                velocity = _HITS[hit] + rng.randint(-6, 6)
                notes.append(Note(self._tick(number, step), TICKS_PER_STEP, drum, velocity))
        return notes


def _pattern(text: str) -> list[tuple[str, int, int]]:
    items = []
    for item in text.split():
        tone, _, place = item.partition("@")
        step, _, length = place.partition("+")
        items.append((tone, int(step), int(length)))
    return items


def _chord_tone(harmony: Chord, target: float) -> int:
    return min((nearest(tone, target) for tone in harmony.tones), key=lambda pitch: (abs(pitch - target), pitch))


def _trim(notes: list[Note]) -> list[Note]:
    """The notes by onset; one that is still sounding when its pitch comes again ends there, duplicates are left out."""
    ordered = sorted(set(notes), key=lambda note: (note.onset, note.pitch, -note.length))
    onsets: dict[int, list[int]] = {}
    for note in ordered:
        if not onsets.get(note.pitch) or onsets[note.pitch][-1] != note.onset:
            onsets.setdefault(note.pitch, []).append(note.onset)
    kept, seen = [], set()
    for note in ordered:
        if (note.onset, note.pitch) in seen:
            continue
        seen.add((note.onset, note.pitch))
        later = onsets[note.pitch]
        index = bisect_right(later, note.onset)
        length = min(note.length, later[index] - note.onset) if index < len(later) else note.length
        kept.append(Note(note.onset, length, note.pitch, note.velocity))
    return kept


def to_midi(piece: Piece) -> bytes:
    """`piece` as a MIDI file (type 1) with a conductor's track; a text event holds `take 000000`, to be numbered."""
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT)
    numerator, denominator = map(int, piece.metre.split("/"))
    tonic, mode = piece.key.split()
    conductor = mido.MidiTrack()
    conductor += [
        mido.MetaMessage("track_name", name=f"{piece.style.name} in {piece.key}"),
        mido.MetaMessage("text", text="take 000000"),
        mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator),
        mido.MetaMessage("key_signature", key=tonic + ("m" if mode == "minor" else "")),
        mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(piece.tempo)),
    ]
    file.tracks.append(conductor)
    melodic = [channel for channel in range(16) if channel != 9]
    for number, part in enumerate(piece.parts):
        channel = 9 if part.program == DRUMS else melodic[number % len(melodic)]
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("track_name", name=INSTRUMENT_NAMES[part.program]))
        program = 0 if part.program == DRUMS else part.program
        # A channel that an earlier part has used changes its program when this part comes in.
        now = part.notes[0].onset if number >= len(melodic) else 0
        track.append(mido.Message("program_change", channel=channel, program=program, time=now))
        pan = 64 if part.role in ("lead", "bass", "drums") else (40, 88, 52, 76)[number % 4]
        track.append(mido.Message("control_change", channel=channel, control=10, value=pan))
        # Note-offs come first where both fall on one tick: a repeated note must end before it starts again.
        events = [(note.onset, 1, note.pitch, note.velocity) for note in part.notes]
        events += [(note.onset + note.length, 0, note.pitch, 0) for note in part.notes]
        for tick, kind, pitch, velocity in sorted(events):
            name = "note_on" if kind else "note_off"
            track.append(mido.Message(name, channel=channel, note=pitch, velocity=velocity, time=tick - now))
            now = tick
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()
