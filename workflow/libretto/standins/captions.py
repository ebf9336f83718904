"""Rows of MidiCaps' `train.json` for composed pieces: the tags of each, and a caption that tells them in prose."""

import random

from libretto.standins.composer import Piece
from libretto.tokens.instruments import INSTRUMENT_NAMES
from libretto.tokens.vocab import DRUMS

_ITALIAN = (
    *((40, "Grave"), (60, "Largo"), (70, "Adagio"), (90, "Andante"), (110, "Moderato")),
    *((140, "Allegro"), (160, "Vivace"), (210, "Presto"), (1000, "Prestissimo")),
)
_PLAIN = ((80, "Slow"), (120, "Moderate tempo"), (160, "Fast"), (1000, "Very fast"))
_DURATIONS = ((30, "Short fragment"), (120, "Short song"), (300, "Song"), (100_000, "Long piece"))
_GENRE_NAMES = {"easylistening": "easy listening"}
_FEELINGS = {
    **{"film": "cinematic", "summer": "summery", "space": "spacious", "party": "festive", "fun": "funny"},
    **{"travel": "adventurous", "dream": "dreamy", "action": "thrilling", "love": "loving"},
}


def midicaps_row(piece: Piece, location: str, rng: random.Random) -> dict:
    """The row that MidiCaps would have for `piece` (all its columns), its file at `location`."""
    played = _play_time(piece)
    ranked = sorted(played, key=lambda program: (-played[program], program))
    summary = list(dict.fromkeys(INSTRUMENT_NAMES[program] for program in ranked))[:5]
    genres = list(piece.style.genres[:2])
    genre_share = round(rng.uniform(0.28, 0.62), 4)
    moods = [piece.style.moods[0], *rng.sample(piece.style.moods[1:], len(piece.style.moods) - 1)]
    mood_shares = sorted((round(rng.uniform(0.03, 0.2), 4) for _ in moods), reverse=True)
    tempo = piece.tempo
    seconds = round(piece.seconds(max(n.onset + n.length for part in piece.parts for n in part.notes)))
    row = {
        "location": location,
        "caption": "",
        "genre": genres,
        "genre_prob": [genre_share, round(genre_share * rng.uniform(0.3, 0.9), 4)],
        "mood": moods,
        "mood_prob": mood_shares,
        "key": piece.key,
        "time_signature": piece.metre,
        "tempo": tempo,
        "tempo_word": _word(tempo, rng.choice((_ITALIAN, _PLAIN))),
        "duration": seconds,
        "duration_word": _word(seconds, _DURATIONS),
        "chord_summary": list(piece.loop[:5]),
        "chord_summary_occurence": piece.loops,
        "instrument_summary": summary,
        "instrument_numbers_sorted": ranked,
        "all_chords": [name for _, name in piece.chords],
        "all_chords_timestamps": [round(piece.seconds(tick), 3) for tick, _ in piece.chords],
        "test_set": rng.random() < 0.1,
    }
    return row | {"caption": caption(row, piece, rng)}


def caption(row: dict, piece: Piece, rng: random.Random) -> str:
    """Two to five sentences on genre, mood, instruments, key, metre, tempo and chords of a row."""
    genre = " ".join(_GENRE_NAMES.get(tag, tag) for tag in row["genre"][: rng.choice((1, 1, 2))])
    first, second, third = (_FEELINGS.get(mood, mood) for mood in row["mood"][:3])
    size = rng.choice(("piece", "track", "song", "composition")) if row["duration"] > 30 else "fragment"
    brief = "short, " if row["duration_word"] == "Short song" and rng.random() < 0.3 else ""
    lead = INSTRUMENT_NAMES[piece.parts[0].program].lower()
    others = [name.lower() for name in row["instrument_summary"] if name.lower() != lead]
    band = _listed([lead, *others])
    rest = _listed(others)
    key, metre, bpm, pace = row["key"], row["time_signature"], row["tempo"], _pace(row["tempo_word"])
    chords = ", ".join(row["chord_summary"])
    opening = rng.choice(
        (
            f"{_article(brief or first)} {brief}{first} {genre} {size} featuring {band}.",
            f"This {brief}{first} and {second} {genre} {size} is played by {band}.",
            f"{_article(genre)} {genre} {size} with {_article(second, False)} {second} feel, led by the {lead}.",
            f"{_article(genre)} {genre} tune in {key} that sounds {first} and {second}.",
        )
    )
    roles = rng.choice(
        (
            f"The {lead} carries the melody while {rest} {_accompany(others)}.",
            f"{_upper(rest)} {_accompany(others)} the melody of the {lead}.",
            f"The {lead} leads the way over {rest}.",
        )
    )
    frame = rng.choice(
        (
            f"It is set in {key} with a {metre} time signature and {_article(pace, False)} {pace} tempo of {bpm} BPM.",
            f"The song is in the key of {key}, in {metre} time, at {bpm} BPM.",
            f"Written in {key} and {metre}, it moves at {_article(pace, False)} {pace} pace.",
            f"The tempo is {pace} at {bpm} beats per minute, the time signature is {metre}, and the key is {key}.",
        )
    )
    harmony = rng.choice(
        (
            f"The main chord progression is {chords}.",
            f"The chords {chords} come back throughout the piece.",
            f"Its harmony revolves around {chords}.",
        )
    )
    ending = rng.choice(
        (
            f"The mood is {first}, {second} and {third}.",
            f"It evokes {_article(third, False)} {third} atmosphere.",
            f"It would suit a scene that is {second} and {third}.",
        )
    )
    sentences = [opening]
    sentences += [roles] if others and (band not in opening or rng.random() < 0.5) else []
    sentences += [frame]
    sentences += [harmony] if rng.random() < 0.7 else []
    sentences += [ending] if rng.random() < 0.6 else []
    return " ".join(sentences)


def _play_time(piece: Piece) -> dict[int, int]:
    """How many ticks each program sounds; drums, whose hits are written short, count thrice."""
    played: dict[int, int] = {}
    for part in piece.parts:
        length = sum(note.length for note in part.notes) * (3 if part.program == DRUMS else 1)
        played[part.program] = played.get(part.program, 0) + length
    return played


def _word(value: float, marks: tuple[tuple[int, str], ...]) -> str:
    return next(word for mark, word in marks if value <= mark)


def _pace(word: str) -> str:
    return word if word in dict(_ITALIAN).values() else word.lower().removesuffix(" tempo")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _accompany(names: list[str]) -> str:
    plural = len(names) > 1 or names == ["drums"]
    return "accompany" if plural else "accompanies"


def _article(word: str, capital: bool = True) -> str:
    article = "an" if word[0].lower() in "aeiou" else "a"
    return article.capitalize() if capital else article


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
