"""The styles that the composer knows: harmony, instruments, rhythm and tempo of each, as plain data.

Rhythm is counted in steps, sixteenths of a 4/4 bar: 16 steps a bar in 4/4, 12 in 3/4 and 6/8. A pattern is one bar of
`tone@step+length`, where the tone is one of

- `c` the whole chord, `p` root and fifth, `1`..`4` the chord's voices from below, `b` the root under them (chords);
- `R` root, `3` third, `5` fifth, `8` octave, `a` a semitone or a scale step before the next root (basses).

A drum pattern gives each drum a string of one bar: `x` accented, `o` plain, `-` soft, `.` silent.
A progression is written in Roman numerals, bars parted by `|`; see `libretto.standins.harmony`.
"""

from dataclasses import dataclass

STEPS = {"4/4": 16, "3/4": 12, "6/8": 12}
BEAT_STEPS = {"4/4": 4, "3/4": 4, "6/8": 6}

KICK, STICK, SNARE, CLAP, CLOSED, PEDAL, OPEN = 36, 37, 38, 39, 42, 44, 46
LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE, TAMBOURINE, SHAKER = 41, 45, 48, 49, 51, 54, 82

DRUMS: dict[str, dict[int, str]] = {
    "pop": {KICK: "x.....o.x.......", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."},
    "pop open": {KICK: "x..o..x...x.....", SNARE: "....x.......x..-", CLOSED: "x.o.x.o.x.o.x..."}
    | {OPEN: "..............o."},
    "rock": {KICK: "x.....x.x.x.....", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."},
    "rock ride": {KICK: "x...o.x...x.....", SNARE: "....x.......x...", RIDE: "x.o.x.o.x.o.x.o."},
    "swing": {RIDE: "x...x.o.x...x.o.", PEDAL: "....o.......o...", KICK: "-.......-.......", SNARE: "......-........."},
    "house": {KICK: "x...x...x...x...", CLAP: "....x.......x...", OPEN: "..x...x...x...x.", SHAKER: "-.-.-.-.-.-.-.-."},
    "reggae": {KICK: "........x.......", STICK: "........x.......", CLOSED: "..x...x...x...x."},
    "train": {KICK: "x.......x.......", SNARE: "-.-.x.-.-.-.x.-.", PEDAL: "....o.......o..."},
    "jig": {KICK: "x.....x.....", TAMBOURINE: "x.o.o.x.o.o."},
}

BASS: dict[str, str] = {
    "whole": "R@0+16",
    "halves": "R@0+7 5@8+7",
    "pop": "R@0+5 R@6+2 R@8+6 5@14+2",
    "eighths": "R@0+2 R@2+2 R@4+2 R@6+2 R@8+2 R@10+2 R@12+2 a@14+2",
    "walking": "R@0+4 3@4+4 5@8+4 a@12+4",
    "walking up": "R@0+4 5@4+4 8@8+4 a@12+4",
    "offbeat": "R@2+2 R@6+2 R@10+2 R@14+2",
    "reggae": "R@0+3 R@4+2 5@6+4 3@12+2 R@14+2",
    "country": "R@0+4 5@8+4",
    "waltz": "R@0+4",
    "six": "R@0+5 5@6+4 R@10+2",
}

COMP: dict[str, str] = {
    "halves": "c@0+7 c@8+7",
    "quarters": "c@0+3 c@4+3 c@8+3 c@12+3",
    "strum": "c@0+4 c@4+2 c@6+2 c@10+2 c@12+2 c@14+2",
    "power": "p@0+6 p@6+2 p@8+4 p@12+2 p@14+2",
    "chug": "p@0+2 p@2+2 p@4+2 p@6+2 p@8+2 p@10+2 p@12+2 p@14+2",
    "alberti": "1@0+2 3@2+2 2@4+2 3@6+2 1@8+2 3@10+2 2@12+2 3@14+2",
    "picking": "b@0+4 2@2+2 3@4+2 2@6+2 1@8+4 2@10+2 4@12+2 3@14+2",
    "charleston": "c@0+3 c@6+2",
    "skank": "c@2+2 c@6+2 c@10+2 c@14+2",
    "stabs": "c@0+2 c@3+2 c@6+2 c@10+2 c@13+2",
    "boom chick": "c@4+2 c@12+2",
    "waltz": "c@4+3 c@8+3",
    "jig": "c@0+3 c@4+2 c@6+3 c@10+2",
}

# One-bar rhythms of a melody, `step+length` each, from sparse to busy.
RHYTHMS: dict[str, dict[str, tuple[str, ...]]] = {
    "4/4": {
        "calm": ("0+8 8+8", "0+12 12+4", "0+6 6+2 8+8", "4+4 8+8", "0+4 4+4 8+8"),
        "medium": (
            *("0+4 4+4 8+4 12+4", "0+6 6+2 8+4 12+4", "0+4 4+2 6+2 8+8"),
            *("2+2 4+4 8+4 12+2 14+2", "0+2 2+2 4+4 8+6"),
        ),
        "busy": (
            *("0+2 2+2 4+2 6+2 8+4 12+4", "0+4 4+2 6+2 8+2 10+2 12+4", "0+2 2+2 4+4 8+2 10+2 12+2 14+2"),
            *("0+3 3+3 6+2 8+2 10+2 12+4", "0+2 2+1 3+1 4+2 6+2 8+4 12+2"),
        ),
        "syncopated": (
            *("0+3 3+3 6+4 10+6", "2+2 4+2 6+4 10+2 12+4", "0+2 2+4 6+4 10+2 14+2"),
            *("0+6 6+4 10+2 12+2", "3+3 6+2 8+3 11+5"),
        ),
    },
    "3/4": {
        "calm": ("0+12", "0+8 8+4", "0+4 4+8"),
        "medium": ("0+4 4+4 8+4", "0+6 6+2 8+4", "0+8 8+2 10+2", "0+4 4+2 6+2 8+4"),
    },
    "6/8": {
        "busy": ("0+2 2+2 4+2 6+2 8+2 10+2", "0+4 4+2 6+2 8+2 10+2", "0+2 2+2 4+2 6+4 10+2"),
    },
}


@dataclass(frozen=True)
class Style:
    """What is typical of one style; the composer draws from it.

    Attributes:
        genres: MidiCaps' genre tags, the main one first.
        moods: mood tags, the most typical first.
        metre: time signature.
        tempo: quarter notes a minute. At 75, 100 and 150 a step takes 20, 15 and 10 of AMT's ticks. So onsets fall on
            few of its time tokens, and a small model meets each often enough to learn it.
        major, minor: chord progressions of 4 bars; a mode without any is not used.
        rhythm: keys of `RHYTHMS`.
        lead: programs for the melody.
        comp: pairs of program and comping pattern; up to two play.
        bass: pairs of program and bass pattern; empty for none.
        pad: programs that hold the chords; empty for none.
        counter: programs for a second, slower voice; empty for none.
        drums: drum patterns; empty for none.
        swing: where the second eighth of a beat falls: 1/2 even, 2/3 swung.
    """

    name: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    metre: str
    tempo: int
    major: tuple[str, ...]
    minor: tuple[str, ...]
    rhythm: tuple[str, ...]
    lead: tuple[int, ...]
    comp: tuple[tuple[int, str], ...]
    bass: tuple[tuple[int, str], ...] = ()
    pad: tuple[int, ...] = ()
    counter: tuple[int, ...] = ()
    drums: tuple[str, ...] = ()
    swing: float = 1 / 2


_POP_MAJOR = ("I | V | vi | IV", "I | vi | IV | V", "IV | I | V | vi", "I | iii | IV | V", "I | IV | ii | V")
_POP_MINOR = ("i | VI | III | VII", "i | iv | VI | V", "i | VII | VI | VII", "i | III | VII | iv")
_JAZZ_MAJOR = ("ii7 | V7 | IM7 | vi7", "IM7 vi7 | ii7 V7 | iii7 VI7 | ii7 V7", "IM7 | IVM7 | iii7 vi7 | ii7 V7")
_JAZZ_MINOR = ("i7 | iih7 V7 | i7 | VIM7 V7", "iv7 | VII7 | IIIM7 | iih7 V7")
_CLASSICAL_MAJOR = ("I | IV | V7 | I", "I | V7 | vi | IV V7", "I V | vi iii | IV I | ii V7", "I | ii | V7 | I")
_CLASSICAL_MINOR = ("i | iv | V7 | i", "i | VI | iv | V7", "i V7 | i | iv i | V7")

STYLES: tuple[Style, ...] = (
    Style(
        name="pop",
        genres=("pop", "rock"),
        moods=("happy", "melodic", "love", "energetic", "inspiring"),
        metre="4/4",
        tempo=100,
        major=_POP_MAJOR,
        minor=_POP_MINOR,
        rhythm=("medium", "syncopated"),
        lead=(0, 73),
        comp=((25, "strum"), (0, "halves")),
        bass=((33, "pop"),),
        pad=(48,),
        drums=("pop", "pop open"),
    ),
    Style(
        name="rock",
        genres=("rock", "pop"),
        moods=("energetic", "melodic", "action", "happy", "dark"),
        metre="4/4",
        tempo=150,
        major=("I | bVII | IV | I", "I | IV | V | IV", "I | V | bVII | IV"),
        minor=("i | VII | VI | VII", "i | VI | III | VII"),
        rhythm=("medium", "busy", "syncopated"),
        lead=(30,),
        comp=((29, "power"), (29, "chug")),
        bass=((34, "eighths"),),
        pad=(18,),
        drums=("rock", "rock ride"),
    ),
    Style(
        name="swing",
        genres=("jazz", "blues"),
        moods=("melodic", "happy", "relaxing", "groovy", "retro"),
        metre="4/4",
        tempo=100,
        major=_JAZZ_MAJOR,
        minor=_JAZZ_MINOR,
        rhythm=("medium", "busy", "syncopated"),
        lead=(65, 56),
        comp=((0, "charleston"),),
        bass=((32, "walking"), (32, "walking up")),
        drums=("swing",),
        swing=2 / 3,
    ),
    Style(
        name="house",
        genres=("house", "electronic"),
        moods=("energetic", "party", "uplifting", "space", "groovy"),
        metre="4/4",
        tempo=150,
        major=("vi | IV | I | V", "IM7 | iii7 | vi7 | IV"),
        minor=("i7 | VI | VII | v7", "i | VII | iv | VI"),
        rhythm=("syncopated", "medium"),
        lead=(81,),
        comp=((90, "stabs"),),
        bass=((38, "offbeat"),),
        pad=(89,),
        drums=("house",),
    ),
    Style(
        name="reggae",
        genres=("reggae", "pop"),
        moods=("happy", "relaxing", "summer", "groovy", "fun"),
        metre="4/4",
        tempo=75,
        major=("I | IV | V | IV", "I | ii | I | ii", "I | V | vi | IV"),
        minor=("i | VII | i | VII", "i | iv | VII | i"),
        rhythm=("syncopated", "medium"),
        lead=(22,),
        comp=((27, "skank"), (16, "skank")),
        bass=((33, "reggae"),),
        drums=("reggae",),
    ),
    Style(
        name="country",
        genres=("country", "folk"),
        moods=("happy", "fun", "melodic", "inspiring", "travel"),
        metre="4/4",
        tempo=150,
        major=("I | IV | V | I", "I | I | IV | V", "I | vi | IV | V7"),
        minor=("i | VII | VI | V",),
        rhythm=("medium", "busy"),
        lead=(110, 105),
        comp=((25, "boom chick"), (25, "strum")),
        bass=((32, "country"),),
        drums=("train",),
    ),
    Style(
        name="jig",
        genres=("folk", "celtic"),
        moods=("happy", "energetic", "fun", "melodic", "party"),
        metre="6/8",
        tempo=150,
        major=("I | IV | I | V", "I | V | IV | V", "I | ii | IV | V"),
        minor=("i | VII | i | VII", "i | VII | VI | VII"),
        rhythm=("busy",),
        lead=(78,),
        comp=((21, "jig"),),
        bass=((32, "six"),),
        drums=("jig",),
    ),
    Style(
        name="chamber",
        genres=("classical", "soundtrack"),
        moods=("melodic", "relaxing", "film", "romantic", "emotional"),
        metre="4/4",
        tempo=100,
        major=_CLASSICAL_MAJOR,
        minor=_CLASSICAL_MINOR,
        rhythm=("medium", "busy"),
        lead=(40, 68),
        comp=((41, "alberti"), (45, "quarters")),
        bass=((42, "halves"),),
        counter=(71,),
    ),
    Style(
        name="waltz",
        genres=("classical", "easylistening"),
        moods=("romantic", "happy", "melodic", "love", "elegant"),
        metre="3/4",
        tempo=150,
        major=_CLASSICAL_MAJOR,
        minor=_CLASSICAL_MINOR,
        rhythm=("medium", "calm"),
        lead=(73,),
        comp=((48, "waltz"),),
        bass=((43, "waltz"),),
    ),
    Style(
        name="ambient",
        genres=("ambient", "electronic"),
        moods=("meditative", "relaxing", "dream", "space", "deep"),
        metre="4/4",
        tempo=100,
        major=("IM7 | IVM7 | IM7 | vi7", "I | iii | IV | I"),
        minor=("i | VI | i | VII", "i7 | VIM7 | iv7 | i7"),
        rhythm=("calm",),
        lead=(11,),
        comp=((46, "picking"),),
        bass=((35, "whole"),),
        pad=(91,),
    ),
)
