import pytest

from libretto.tokens.instruments import INSTRUMENT_NAMES, midicaps_name
from libretto.tokens.vocab import DRUMS, INSTRUMENTS


def test_names_stand_at_their_program():
    assert len(INSTRUMENT_NAMES) == INSTRUMENTS
    landmarks = {0: "Piano", 11: "Vibraphone", 23: "Tango Accordion", 40: "Violin", 60: "French Horn", 73: "Flute"}
    landmarks |= {79: "Ocarina", 87: "Brass Lead", 104: "Sitar", 112: "Tinkle Bell", 127: "Gunshot", DRUMS: "Drums"}
    assert {program: INSTRUMENT_NAMES[program] for program in landmarks} == landmarks


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Electric Bass (finger)", "Electric Bass"),
        ("alto sax", "Alto Saxophone"),
        ("String Ensemble", "String Ensemble"),
        (" drums ", "Drums"),
        ("Theremin", "Theremin"),
    ],
)
def test_other_spellings_are_read(written, name):
    assert midicaps_name(written) == name
