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
LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE, TAMBOURINE, COWBELL = 41, 45, 48, 49, 51, 54, 56
CONGA_MUTE, CONGA, CONGA_LOW, CABASA, CLAVES, SHAKER = 62, 63, 64, 69, 75, 82

DRUMS: dict[str, dict[int, str]] = {
    "pop": {KICK: "x.....o.x.......", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."},
    "pop open": {KICK: "x..o..x...x.....", SNARE: "....x.......x..-", CLOSED: "x.o.x.o.x.o.x..."}
    | {OPEN: "..............o."},
    "rock": {KICK: "x.....x.x.x.....", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."},
    "rock ride": {KICK: "x...o.x...x.....", SNARE: "....x.......x...", RIDE: "x.o.x.o.x.o.x.o."},
    "metal": {KICK: "x.oox.oox.oox.oo", SNARE: "....x.......x...", RIDE: "x...x...x...x..."},
    "half time": {KICK: "x.....x.........", SNARE: "........x.......", CLOSED: "x.o.x.o.x.o.x.o."},
    "swing": {RIDE: "x...x.o.x...x.o.", PEDAL: "....o.......o...", KICK: "-.......-.......", SNARE: "......-........."},
    "brushes": {RIDE: "o...o.-.o...o.-.", PEDAL: "....o.......o...", SNARE: "-.-.-.-.-.-.-.-."},
    "shuffle": {KICK: "x.....o.x.....o.", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.o.x.o."},
    "bossa": {KICK: "x.....o.x.....o.", STICK: "x.....x.....x...", CLOSED: "o.-.o.-.o.-.o.-."},
    "funk": {KICK: "x..x......x..x..", SNARE: "....x..-.-..x..-", CLOSED: "x.x.x.x.x.x.x.xo"},
    "disco": {KICK: "x...x...x...x...", SNARE: "....x.......x...", OPEN: "..o...o...o...o."}
    | {CLOSED: "o...o...o...o..."},
    "house": {KICK: "x...x...x...x...", CLAP: "....x.......x...", OPEN: "..x...x...x...x.", SHAKER: "-.-.-.-.-.-.-.-."},
    "techno": {KICK: "x...x...x...x...", CLOSED: "..x...x...x...x.", CLAP: "....o.......o..."}
    | {COWBELL: "...o......o....."},
    "breaks": {KICK: "x.........x.....", SNARE: "....x..-.-..x...", CLOSED: "x.x.x.x.x.x.x.x."},
    "reggae": {KICK: "........x.......", STICK: "........x.......", CLOSED: "..x...x...x...x."},
    "train": {KICK: "x.......x.......", SNARE: "-.-.x.-.-.-.x.-.", PEDAL: "....o.......o..."},
    "salsa": {CONGA_MUTE: "o.....o.o.....o.", CONGA: "....x.......x...", CONGA_LOW: "..............oo"}
    | {CLAVES: "x.....x.....x...", COWBELL: "x...o...x...o..."},
    "tango": {SNARE: "x..o..x.x.o.x...", KICK: "x...o...x...o..."},
    "march": {KICK: "x.......x.......", SNARE: "o.o.x.ooo.o.x.oo"},
    "hip hop": {KICK: "x......x..x.....", SNARE: "....x.......x...", CLOSED: "x.o.x.o.x.oox.o."},
    "epic": {LOW_TOM: "x..x..x.x..x..x.", KICK: "x.......x......."},
    "waltz": {KICK: "x...........", PEDAL: "....o...o...", SNARE: "....-...-..."},
    "waltz ride": {KICK: "x...........", RIDE: "x...o...o...", PEDAL: "....o......."},
    "six": {KICK: "x.........o.", SNARE: "......x.....", CLOSED: "x.o.o.x.o.o."},
    "jig": {KICK: "x.....x.....", TAMBOURINE: "x.o.o.x.o.o."},
}

BASS: dict[str, str] = {
    "whole": "R@0+16",
    "halves": "R@0+7 5@8+7",
    "pop": "R@0+5 R@6+2 R@8+6 5@14+2",
    "eighths": "R@0+2 R@2+2 R@4+2 R@6+2 R@8+2 R@10+2 R@12+2 a@14+2",
    "gallop": "R@0+2 R@2+1 R@3+1 R@4+2 R@6+1 R@7+1 R@8+2 R@10+1 R@11+1 R@12+2 a@14+2",
    "walking": "R@0+4 3@4+4 5@8+4 a@12+4",
    "walking up": "R@0+4 5@4+4 8@8+4 a@12+4",
    "boogie": "R@0+4 3@4+4 5@8+4 8@12+2 5@14+2",
    "bossa": "R@0+5 5@6+2 5@8+5 R@14+2",
    "funk": "R@0+2 R@3+1 8@6+2 R@10+2 5@12+1 a@14+2",
    "octaves": "R@0+2 8@2+2 R@4+2 8@6+2 R@8+2 8@10+2 R@12+2 8@14+2",
    "offbeat": "R@2+2 R@6+2 R@10+2 R@14+2",
    "reggae": "R@0+3 R@4+2 5@6+4 3@12+2 R@14+2",
    "country": "R@0+4 5@8+4",
    "tumbao": "5@6+5 8@12+4",
    "tango": "R@0+4 R@6+2 5@8+4 a@12+4",
    "sub": "R@0+6 R@7+3 R@10+6",
    "waltz": "R@0+4",
    "waltz walk": "R@0+4 3@4+4 5@8+4",
    "six": "R@0+5 5@6+4 R@10+2",
}

COMP: dict[str, str] = {
    "whole": "c@0+16",
    "halves": "c@0+7 c@8+7",
    "quarters": "c@0+3 c@4+3 c@8+3 c@12+3",
    "strum": "c@0+4 c@4+2 c@6+2 c@10+2 c@12+2 c@14+2",
    "power": "p@0+6 p@6+2 p@8+4 p@12+2 p@14+2",
    "chug": "p@0+2 p@2+2 p@4+2 p@6+2 p@8+2 p@10+2 p@12+2 p@14+2",
    "broken": "b@0+2 1@2+2 2@4+2 3@6+2 b@8+2 1@10+2 3@12+2 2@14+2",
    "alberti": "1@0+2 3@2+2 2@4+2 3@6+2 1@8+2 3@10+2 2@12+2 3@14+2",
    "rolling": "1@0+1 2@1+1 3@2+1 4@3+1 3@4+1 2@5+1 1@6+1 2@7+1 3@8+1 4@9+1 3@10+1 2@11+1 1@12+1 2@13+1 3@14+1 4@15+1",
    "picking": "b@0+4 2@2+2 3@4+2 2@6+2 1@8+4 2@10+2 4@12+2 3@14+2",
    "charleston": "c@0+3 c@6+2",
    "jazz": "c@2+2 c@8+3 c@14+2",
    "bossa": "c@0+2 c@3+2 c@6+3 c@10+2 c@13+2",
    "skank": "c@2+2 c@6+2 c@10+2 c@14+2",
    "backbeat": "c@4+3 c@12+3",
    "stabs": "c@0+2 c@3+2 c@6+2 c@10+2 c@13+2",
    "scratch": "c@2+1 c@5+1 c@7+1 c@10+1 c@13+1 c@15+1",
    "montuno": "c@0+2 4@2+2 c@4+1 2@5+2 c@7+2 4@9+2 c@11+2 4@13+2 2@15+1",
    "tango": "c@0+3 c@4+2 c@8+3 c@12+2",
    "boom chick": "c@4+2 c@12+2",
    "waltz": "c@4+3 c@8+3",
    "waltz broken": "b@0+2 1@2+2 2@4+2 3@6+2 2@8+2 1@10+2",
    "three": "c@0+12",
    "six": "1@0+2 2@2+2 3@4+2 4@6+2 3@8+2 2@10+2",
    "jig": "c@0+3 c@4+2 c@6+3 c@10+2",
}

# The patterns above that belong to another metre than 4/4: names are unique across the three tables' 12-step patterns.
TWELVE_STEPS = {
    "3/4": ("waltz", "waltz ride", "waltz walk", "waltz broken", "three"),
    "6/8": ("six", "jig", "three"),
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
        "busy": ("0+2 2+2 4+2 6+2 8+4", "0+4 4+2 6+2 8+2 10+2", "0+3 3+1 4+4 8+2 10+2"),
        "syncopated": ("0+6 6+6", "0+2 2+4 6+4 10+2"),
    },
    "6/8": {
        "calm": ("0+12", "0+6 6+6", "0+10 10+2"),
        "medium": ("0+4 4+2 6+6", "0+6 6+4 10+2", "0+4 4+2 6+4 10+2"),
        "busy": ("0+2 2+2 4+2 6+2 8+2 10+2", "0+4 4+2 6+2 8+2 10+2", "0+2 2+2 4+2 6+4 10+2"),
        "syncopated": ("0+3 3+3 6+6", "0+4 4+4 8+4"),
    },
}


@dataclass(frozen=True)
class Style:
    """What is typical of one style; the composer draws from it.

    Attributes:
        genres: MidiCaps' genre tags, the main one first.
        moods: mood tags, the most typical first.
        metres: time signatures.
        tempo: range, quarter notes a minute.
        major, minor: chord progressions of 4 or 12 bars; a mode without any is not used.
        rhythm: keys of `RHYTHMS`.
        lead: programs for the melody.
        comp: pairs of program and comping pattern; up to two play.
        bass: pairs of program and bass pattern; empty for none.
        pad: programs that hold the chords; empty for none.
        counter: programs for a second, slower voice; empty for none.
        drums: drum patterns; empty for none.
        swing: where the second eighth of a beat falls: 0.5 even, 0.667 swung.
        rubato: whether the last bars slow down.
    """

    name: str
    genres: tuple[str, ...]
    moods: tuple[str, ...]
    metres: tuple[str, ...]
    tempo: tuple[int, int]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    rhythm: tuple[str, ...]
    lead: tuple[int, ...]
    comp: tuple[tuple[int, str], ...]
    bass: tuple[tuple[int, str], ...] = ()
    pad: tuple[int, ...] = ()
    counter: tuple[int, ...] = ()
    drums: tuple[str, ...] = ()
    swing: float = 0.5
    rubato: bool = False


_POP_MAJOR = ("I | V | vi | IV", "I | vi | IV | V", "IV | I | V | vi", "I | iii | IV | V", "I | IV | ii | V")
_POP_MINOR = ("i | VI | III | VII", "i | iv | VI | V", "i | VII | VI | VII", "i | III | VII | iv")
_JAZZ_MAJOR = ("ii7 | V7 | IM7 | vi7", "IM7 vi7 | ii7 V7 | iii7 VI7 | ii7 V7", "IM7 | IVM7 | iii7 vi7 | ii7 V7")
_JAZZ_MINOR = ("i7 | iih7 V7 | i7 | VIM7 V7", "iv7 | VII7 | IIIM7 | iih7 V7")
_CLASSICAL_MAJOR = ("I | IV | V7 | I", "I | V7 | vi | IV V7", "I V | vi iii | IV I | ii V7", "I | ii | V7 | I")
_CLASSICAL_MINOR = ("i | iv | V7 | i", "i | VI | iv | V7", "i V7 | i | iv i | V7")
_BLUES = ("I7 | IV7 | I7 | I7 | IV7 | IV7 | I7 | I7 | V7 | IV7 | I7 | V7",)

STYLES: tuple[Style, ...] = (
    Style(
        name="pop",
        genres=("pop", "rock"),
        moods=("happy", "melodic", "love", "energetic", "inspiring"),
        metres=("4/4",),
        tempo=(92, 128),
        major=_POP_MAJOR,
        minor=_POP_MINOR,
        rhythm=("medium", "syncopated"),
        lead=(0, 80, 73, 65, 26, 11),
        comp=((0, "halves"), (25, "strum"), (4, "quarters"), (0, "broken"), (27, "picking")),
        bass=((33, "pop"), (34, "eighths"), (38, "pop")),
        pad=(48, 50, 89, 52),
        counter=(48, 61, 53),
        drums=("pop", "pop open"),
    ),
    Style(
        name="ballad",
        genres=("pop", "soundtrack"),
        moods=("love", "ballad", "emotional", "melodic", "romantic"),
        metres=("4/4", "6/8"),
        tempo=(62, 84),
        major=_POP_MAJOR,
        minor=_POP_MINOR,
        rhythm=("calm", "medium"),
        lead=(0, 73, 65, 68, 40, 53),
        comp=((0, "broken"), (24, "picking"), (4, "halves"), (0, "whole")),
        bass=((32, "halves"), (33, "whole"), (35, "pop")),
        pad=(48, 89, 52),
        counter=(42, 60),
        drums=("pop", "half time"),
        rubato=True,
    ),
    Style(
        name="rock",
        genres=("rock", "pop"),
        moods=("energetic", "melodic", "action", "happy", "dark"),
        metres=("4/4",),
        tempo=(112, 156),
        major=("I | bVII | IV | I", "I | IV | V | IV", "I | V | bVII | IV"),
        minor=("i | VII | VI | VII", "i | VI | III | VII"),
        rhythm=("medium", "busy", "syncopated"),
        lead=(29, 30, 27, 81, 18),
        comp=((29, "power"), (30, "chug"), (27, "strum"), (18, "halves")),
        bass=((34, "eighths"), (33, "eighths")),
        pad=(18, 50),
        drums=("rock", "rock ride"),
    ),
    Style(
        name="metal",
        genres=("metal", "rock"),
        moods=("heavy", "dark", "energetic", "epic", "action"),
        metres=("4/4",),
        tempo=(132, 176),
        major=(),
        minor=("i | bII | i | VII", "i | VI | VII | i", "i | i | VI | VII", "i | III | VI | V"),
        rhythm=("busy", "syncopated"),
        lead=(30, 29, 84),
        comp=((30, "chug"), (29, "power")),
        bass=((34, "gallop"), (34, "eighths")),
        pad=(48, 52),
        drums=("metal", "half time"),
    ),
    Style(
        name="swing",
        genres=("jazz", "blues"),
        moods=("melodic", "happy", "relaxing", "groovy", "retro"),
        metres=("4/4",),
        tempo=(116, 184),
        major=_JAZZ_MAJOR,
        minor=_JAZZ_MINOR,
        rhythm=("medium", "busy", "syncopated"),
        lead=(65, 66, 56, 71, 11, 26, 59),
        comp=((0, "charleston"), (0, "jazz"), (26, "quarters")),
        bass=((32, "walking"), (32, "walking up")),
        counter=(57, 66),
        drums=("swing", "brushes"),
        swing=0.667,
    ),
    Style(
        name="bossa nova",
        genres=("bossanova", "jazz"),
        moods=("relaxing", "melodic", "love", "summer", "romantic"),
        metres=("4/4",),
        tempo=(118, 146),
        major=_JAZZ_MAJOR,
        minor=_JAZZ_MINOR,
        rhythm=("calm", "syncopated"),
        lead=(73, 65, 24, 11, 59),
        comp=((24, "bossa"), (0, "charleston"), (4, "bossa")),
        bass=((32, "bossa"), (35, "bossa")),
        pad=(48,),
        drums=("bossa",),
    ),
    Style(
        name="blues",
        genres=("blues", "rock"),
        moods=("groovy", "sad", "melodic", "energetic", "relaxing"),
        metres=("4/4",),
        tempo=(84, 124),
        major=_BLUES,
        minor=("i7 | iv7 | i7 | i7 | iv7 | iv7 | i7 | i7 | VI7 | V7 | i7 | V7",),
        rhythm=("medium", "syncopated"),
        lead=(22, 27, 66, 29, 16),
        comp=((3, "quarters"), (27, "backbeat"), (16, "halves"), (0, "charleston")),
        bass=((33, "boogie"), (32, "walking")),
        drums=("shuffle",),
        swing=0.667,
    ),
    Style(
        name="funk",
        genres=("funk", "disco"),
        moods=("groovy", "energetic", "fun", "party", "happy"),
        metres=("4/4",),
        tempo=(96, 116),
        major=("I7 | I7 | IV7 | I7", "I7 | bVII | IV7 | I7"),
        minor=("i7 | i7 | IV7 | i7", "i7 | iv7 | i7 | VII"),
        rhythm=("syncopated",),
        lead=(61, 65, 16, 81, 56),
        comp=((7, "scratch"), (27, "scratch"), (16, "stabs"), (4, "stabs")),
        bass=((36, "funk"), (33, "funk")),
        counter=(61,),
        drums=("funk",),
    ),
    Style(
        name="disco",
        genres=("disco", "pop"),
        moods=("party", "happy", "energetic", "groovy", "retro"),
        metres=("4/4",),
        tempo=(112, 128),
        major=_POP_MAJOR,
        minor=("i | iv | VII | III", "i7 | VI | iv7 | V7"),
        rhythm=("medium", "syncopated"),
        lead=(61, 80, 56, 65, 48),
        comp=((27, "scratch"), (4, "stabs"), (0, "quarters")),
        bass=((33, "octaves"), (38, "octaves")),
        pad=(48, 51),
        counter=(48,),
        drums=("disco",),
    ),
    Style(
        name="house",
        genres=("house", "electronic"),
        moods=("energetic", "party", "uplifting", "space", "groovy"),
        metres=("4/4",),
        tempo=(120, 128),
        major=("vi | IV | I | V", "IM7 | iii7 | vi7 | IV"),
        minor=("i7 | VI | VII | v7", "i | VII | iv | VI"),
        rhythm=("syncopated", "medium"),
        lead=(81, 80, 11, 54),
        comp=((0, "stabs"), (90, "stabs"), (16, "skank")),
        bass=((38, "offbeat"), (39, "sub")),
        pad=(89, 94, 50),
        drums=("house",),
    ),
    Style(
        name="techno",
        genres=("techno", "electronic"),
        moods=("energetic", "dark", "space", "deep", "melodic"),
        metres=("4/4",),
        tempo=(126, 142),
        major=("vi | vi | IV | V",),
        minor=("i | i | VI | VII", "i | III | VII | VI"),
        rhythm=("busy", "syncopated"),
        lead=(81, 80, 87, 84),
        comp=((81, "rolling"), (90, "stabs"), (88, "broken")),
        bass=((38, "offbeat"), (39, "eighths")),
        pad=(95, 91, 50),
        drums=("techno",),
    ),
    Style(
        name="synthwave",
        genres=("electronic", "pop"),
        moods=("retro", "dream", "melodic", "space", "energetic"),
        metres=("4/4",),
        tempo=(84, 112),
        major=_POP_MAJOR,
        minor=_POP_MINOR,
        rhythm=("calm", "medium"),
        lead=(80, 81, 62, 54),
        comp=((81, "rolling"), (90, "halves"), (88, "alberti")),
        bass=((38, "octaves"), (39, "eighths")),
        pad=(50, 89, 94),
        drums=("pop", "breaks"),
    ),
    Style(
        name="hip hop",
        genres=("hiphop", "electronic"),
        moods=("groovy", "dark", "cool", "urban", "relaxing"),
        metres=("4/4",),
        tempo=(78, 96),
        major=("IM7 | vi7 | ii7 | V7",),
        minor=("i7 | VIM7 | iv7 | V7", "i | VI | iv | VII"),
        rhythm=("syncopated", "calm"),
        lead=(11, 4, 81, 73),
        comp=((4, "charleston"), (0, "broken"), (46, "picking")),
        bass=((38, "sub"), (33, "funk")),
        pad=(48, 89),
        drums=("hip hop", "breaks"),
    ),
    Style(
        name="reggae",
        genres=("reggae", "pop"),
        moods=("happy", "relaxing", "summer", "groovy", "fun"),
        metres=("4/4",),
        tempo=(72, 92),
        major=("I | IV | V | IV", "I | ii | I | ii", "I | V | vi | IV"),
        minor=("i | VII | i | VII", "i | iv | VII | i"),
        rhythm=("syncopated", "medium"),
        lead=(16, 56, 27, 22, 114),
        comp=((27, "skank"), (16, "skank"), (0, "skank")),
        bass=((33, "reggae"),),
        counter=(57, 61),
        drums=("reggae",),
    ),
    Style(
        name="country",
        genres=("country", "folk"),
        moods=("happy", "fun", "melodic", "inspiring", "travel"),
        metres=("4/4",),
        tempo=(104, 140),
        major=("I | IV | V | I", "I | I | IV | V", "I | vi | IV | V7"),
        minor=("i | VII | VI | V",),
        rhythm=("medium", "busy"),
        lead=(110, 105, 22, 27, 25),
        comp=((25, "strum"), (105, "rolling"), (25, "boom chick"), (0, "boom chick")),
        bass=((32, "country"), (33, "country")),
        counter=(110,),
        drums=("train",),
    ),
    Style(
        name="folk",
        genres=("folk", "country"),
        moods=("melodic", "relaxing", "happy", "soft", "nature"),
        metres=("3/4", "6/8"),
        tempo=(92, 132),
        major=("I | IV | V | I", "I | V | IV | I", "I | vi | IV | V"),
        minor=("i | VII | i | v", "i | VI | VII | i"),
        rhythm=("medium", "busy"),
        lead=(73, 110, 21, 74, 22),
        comp=((25, "waltz"), (24, "waltz broken"), (46, "waltz broken"), (21, "waltz")),
        bass=((32, "waltz"), (32, "waltz walk")),
        drums=("waltz",),
    ),
    Style(
        name="jig",
        genres=("folk", "celtic"),
        moods=("happy", "energetic", "fun", "melodic", "party"),
        metres=("6/8",),
        tempo=(148, 176),
        major=("I | IV | I | V", "I | V | IV | V", "I | ii | IV | V"),
        minor=("i | VII | i | VII", "i | VII | VI | VII"),
        rhythm=("busy",),
        lead=(110, 78, 72, 109, 21),
        comp=((25, "jig"), (21, "jig"), (46, "six")),
        bass=((32, "six"),),
        drums=("jig",),
    ),
    Style(
        name="salsa",
        genres=("latin", "jazz"),
        moods=("party", "energetic", "happy", "groovy", "summer"),
        metres=("4/4",),
        tempo=(156, 188),
        major=("I | IV | V7 | IV", "ii7 | V7 | I | vi7"),
        minor=("i | iv | V7 | i", "i | VII | VI | V7"),
        rhythm=("syncopated", "medium"),
        lead=(56, 61, 73, 57),
        comp=((0, "montuno"), (0, "bossa")),
        bass=((32, "tumbao"), (33, "tumbao")),
        counter=(57, 66),
        drums=("salsa",),
    ),
    Style(
        name="tango",
        genres=("latin", "classical"),
        moods=("dark", "romantic", "dramatic", "melodic", "emotional"),
        metres=("4/4",),
        tempo=(108, 128),
        major=("I | V7 | V7 | I",),
        minor=("i | iv | V7 | i", "i | VI | iih7 | V7", "iv | i | V7 | i"),
        rhythm=("medium", "syncopated"),
        lead=(23, 40, 24, 21),
        comp=((0, "tango"), (23, "tango"), (24, "tango")),
        bass=((32, "tango"),),
        pad=(48,),
        counter=(42, 40),
        rubato=True,
    ),
    Style(
        name="chamber",
        genres=("classical", "soundtrack"),
        moods=("melodic", "relaxing", "film", "romantic", "emotional"),
        metres=("4/4", "3/4"),
        tempo=(84, 120),
        major=_CLASSICAL_MAJOR,
        minor=_CLASSICAL_MINOR,
        rhythm=("medium", "busy"),
        lead=(40, 68, 73, 71),
        comp=((41, "alberti"), (46, "broken"), (0, "alberti"), (45, "quarters")),
        bass=((42, "halves"), (70, "halves"), (43, "whole")),
        pad=(48, 49),
        counter=(41, 60, 71),
        rubato=True,
    ),
    Style(
        name="waltz",
        genres=("classical", "easylistening"),
        moods=("romantic", "happy", "melodic", "love", "elegant"),
        metres=("3/4",),
        tempo=(132, 176),
        major=_CLASSICAL_MAJOR,
        minor=_CLASSICAL_MINOR,
        rhythm=("medium", "calm"),
        lead=(40, 73, 71, 0, 21),
        comp=((48, "waltz"), (0, "waltz"), (45, "waltz")),
        bass=((43, "waltz"), (42, "waltz"), (58, "waltz")),
        counter=(42, 60),
        rubato=True,
    ),
    Style(
        name="baroque",
        genres=("classical", "ambient"),
        moods=("melodic", "happy", "inspiring", "meditative", "film"),
        metres=("4/4", "3/4"),
        tempo=(88, 116),
        major=("I V | vi iii | IV I | IV V", "I | V | vi | V"),
        minor=("i V7 | i | iv | V7", "i VII | VI V7 | i iv | V7"),
        rhythm=("busy",),
        lead=(6, 74, 40, 56),
        comp=((6, "rolling"), (6, "alberti"), (19, "halves")),
        bass=((42, "walking"), (70, "walking")),
        counter=(40, 68),
        rubato=True,
    ),
    Style(
        name="march",
        genres=("classical", "soundtrack"),
        moods=("epic", "inspiring", "energetic", "happy", "heroic"),
        metres=("4/4",),
        tempo=(108, 124),
        major=("I | IV | V7 | I", "I | V7 | V7 | I", "I | vi | ii | V7"),
        minor=("i | iv | V7 | i",),
        rhythm=("medium", "busy"),
        lead=(56, 72, 71, 61),
        comp=((60, "skank"), (61, "boom chick")),
        bass=((58, "country"),),
        counter=(57, 71),
        drums=("march",),
    ),
    Style(
        name="epic",
        genres=("soundtrack", "classical"),
        moods=("epic", "film", "dark", "action", "dramatic"),
        metres=("4/4",),
        tempo=(84, 132),
        major=("I | bVII | IV | I", "vi | IV | I | V"),
        minor=("i | VI | III | VII", "i | VI | iv | V"),
        rhythm=("calm", "medium"),
        lead=(60, 48, 61, 52, 56),
        comp=((48, "chug"), (45, "alberti"), (44, "whole")),
        bass=((43, "eighths"), (42, "halves")),
        pad=(52, 48, 61),
        counter=(60, 42),
        drums=("epic", "march"),
    ),
    Style(
        name="ambient",
        genres=("ambient", "electronic"),
        moods=("meditative", "relaxing", "dream", "space", "deep"),
        metres=("4/4",),
        tempo=(68, 92),
        major=("IM7 | IVM7 | IM7 | vi7", "I | iii | IV | I"),
        minor=("i | VI | i | VII", "i7 | VIM7 | iv7 | i7"),
        rhythm=("calm",),
        lead=(11, 79, 98, 53, 75),
        comp=((88, "broken"), (46, "picking"), (4, "alberti"), (8, "broken")),
        bass=((35, "whole"), (39, "whole")),
        pad=(89, 91, 95),
        rubato=True,
    ),
    Style(
        name="lullaby",
        genres=("classical", "children"),
        moods=("calm", "soft", "love", "dream", "christmas"),
        metres=("3/4", "6/8"),
        tempo=(84, 108),
        major=("I | IV | V7 | I", "I | V7 | V7 | I"),
        minor=("i | iv | V7 | i",),
        rhythm=("medium", "calm"),
        lead=(10, 8, 9, 73),
        comp=((46, "waltz broken"), (0, "six"), (12, "six")),
        bass=((42, "waltz"), (32, "waltz")),
        pad=(48, 52),
        rubato=True,
    ),
    Style(
        name="video game",
        genres=("chiptune", "electronic"),
        moods=("game", "fun", "energetic", "retro", "happy"),
        metres=("4/4",),
        tempo=(120, 160),
        major=("I | IV | V | I", "I | bVII | IV | V", "vi | IV | V | I"),
        minor=_POP_MINOR,
        rhythm=("busy", "syncopated"),
        lead=(80, 81, 79),
        comp=((80, "rolling"), (87, "alberti"), (80, "skank")),
        bass=((38, "octaves"), (39, "eighths")),
        counter=(80,),
        drums=("breaks", "rock"),
    ),
)
