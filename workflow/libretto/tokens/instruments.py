"""The names of the 129 instruments as MidiCaps writes them, and how to read other spellings."""

# By program of General MIDI, then drums. MidiCaps calls several programs by one name (both string ensembles, say).
INSTRUMENT_NAMES: tuple[str, ...] = (
    *("Piano", "Piano", "Electric Piano", "Honky-tonk Piano", "Piano", "Piano", "Harpsichord", "Clavinet"),
    *("Celesta", "Glockenspiel", "Music box", "Vibraphone", "Marimba", "Xylophone", "Tubular Bells", "Dulcimer"),
    *("Hammond Organ", "Percussive Organ", "Rock Organ", "Church Organ"),
    *("Reed Organ", "Accordion", "Harmonica", "Tango Accordion"),
    *("Acoustic Guitar", "Acoustic Guitar", "Electric Guitar", "Clean Electric Guitar"),
    *("Electric Guitar", "Overdriven Guitar", "Distortion Guitar", "Guitar Harmonics"),
    *("Acoustic Bass", "Electric Bass", "Electric Bass", "Fretless Bass"),
    *("Slap Bass", "Slap Bass", "Synth Bass", "Synth Bass"),
    *("Violin", "Viola", "Cello", "Contrabass", "Tremolo Strings", "Pizzicato Strings", "Orchestral Harp", "Timpani"),
    *("String Ensemble", "String Ensemble", "Synth Strings", "Synth Strings"),
    *("Choir Aahs", "Voice Oohs", "Synth Voice", "Orchestra Hit"),
    *("Trumpet", "Trombone", "Tuba", "Muted Trumpet", "French Horn", "Brass Section", "Synth Brass", "Synth Brass"),
    *("Soprano Saxophone", "Alto Saxophone", "Tenor Saxophone", "Baritone Saxophone"),
    *("Oboe", "English Horn", "Bassoon", "Clarinet"),
    *("Piccolo", "Flute", "Recorder", "Pan Flute", "Bottle Blow", "Shakuhachi", "Whistle", "Ocarina"),
    *("Synth Lead", "Synth Lead", "Calliope Lead", "Chiffer Lead"),
    *("Charang Lead", "Synth Voice", "Synth Lead", "Brass Lead"),
    *("Synth Pad",) * 8,
    *("Synth Effects",) * 8,
    *("Sitar", "Banjo", "Shamisen", "Koto", "Kalimba", "Bagpipe", "Fiddle", "Shana"),
    *("Tinkle Bell", "Agogo", "Steel Drums", "Woodblock", "Taiko Drum", "Melodic Tom", "Synth Drum", "Reverse Cymbal"),
    *("Guitar Fret Noise", "Breath Noise", "Seashore", "Bird Tweet"),
    *("Telephone Ring", "Helicopter", "Applause", "Gunshot"),
    "Drums",
)

# General MIDI's names where they differ from the table above: other pipelines caption with these.
_GENERAL_MIDI = {
    **{"Acoustic Grand Piano": 0, "Bright Acoustic Piano": 1, "Electric Grand Piano": 2},
    **{"Electric Piano 1": 4, "Electric Piano 2": 5, "Clavi": 7, "Drawbar Organ": 16},
    **{"Acoustic Guitar (nylon)": 24, "Acoustic Guitar (steel)": 25, "Electric Guitar (jazz)": 26},
    **{"Electric Guitar (clean)": 27, "Electric Guitar (muted)": 28},
    **{"Electric Bass (finger)": 33, "Electric Bass (pick)": 34, "Slap Bass 1": 36, "Slap Bass 2": 37},
    **{"Synth Bass 1": 38, "Synth Bass 2": 39, "String Ensemble 1": 48, "String Ensemble 2": 49},
    **{"Synth Strings 1": 50, "Synth Strings 2": 51, "Synth Choir": 54, "Synth Brass 1": 62, "Synth Brass 2": 63},
    **{"Soprano Sax": 64, "Alto Sax": 65, "Tenor Sax": 66, "Baritone Sax": 67, "Blown Bottle": 76},
    **{"Lead 1 (square)": 80, "Lead 2 (sawtooth)": 81, "Lead 3 (calliope)": 82, "Lead 4 (chiff)": 83},
    **{"Lead 5 (charang)": 84, "Lead 6 (voice)": 85, "Lead 7 (fifths)": 86, "Lead 8 (bass + lead)": 87},
    **{"Pad 1 (new age)": 88, "Pad 2 (warm)": 89, "Pad 3 (polysynth)": 90, "Pad 4 (choir)": 91},
    **{"Pad 5 (bowed)": 92, "Pad 6 (metallic)": 93, "Pad 7 (halo)": 94, "Pad 8 (sweep)": 95},
    **{"FX 1 (rain)": 96, "FX 2 (soundtrack)": 97, "FX 3 (crystal)": 98, "FX 4 (atmosphere)": 99},
    **{"FX 5 (brightness)": 100, "FX 6 (goblins)": 101, "FX 7 (echoes)": 102, "FX 8 (sci-fi)": 103},
    **{"Bagpipes": 109, "Shanai": 111, "Drum Kit": 128},
}
_PROGRAM_NAMES = {number: name for name, number in _GENERAL_MIDI.items()}
_KNOWN = {name.casefold(): name for name in INSTRUMENT_NAMES}
_KNOWN |= {name.casefold(): INSTRUMENT_NAMES[number] for name, number in _GENERAL_MIDI.items()}


def midicaps_name(name: str) -> str:
    """The instrument `name`, in MidiCaps' or in General MIDI's spelling, as MidiCaps spells it; others unchanged."""
    return _KNOWN.get(name.strip().casefold(), name.strip())


def general_midi_name(instrument: int) -> str:
    """General MIDI's name of a program, or of the drums."""
    return _PROGRAM_NAMES.get(instrument, INSTRUMENT_NAMES[instrument])
