"""The vocabulary of the Anticipatory Music Transformer in arrival-time form (paper, Table 1; Thickstun et al., 2024).

An event is three tokens: (TIME_OFFSET + onset, DURATION_OFFSET + duration, NOTE_OFFSET + 128 * instrument + pitch).
"""

TICKS_PER_SECOND = 100  # times and durations are counted in ticks of 10 ms

MAX_TIME = 10_000  # onsets of a chunk: 0..9,999 ticks, 100 s
MAX_DURATION = 1_000  # 0..999 ticks, 10 s
PITCHES = 128
DRUMS = 128  # the instrument after the 128 programs of General MIDI: channel 10
INSTRUMENTS = 129

TIME_OFFSET = 0
DURATION_OFFSET = TIME_OFFSET + MAX_TIME
NOTE_OFFSET = DURATION_OFFSET + MAX_DURATION
REST = NOTE_OFFSET + INSTRUMENTS * PITCHES  # never inserted here
ANTICIPATED_OFFSET = REST + 1  # the same again for anticipated events, unused by the paper's models
SEPARATOR = 55_025
AUTOREGRESS = 55_026  # the start-of-music token
ANTICIPATE = 55_027
VOCAB_SIZE = 55_028
EMBEDDING_ROWS = 55_030  # rows of AMT's token embedding; the last two are unused

TOKENS_PER_EVENT = 3
