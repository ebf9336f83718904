"""The two families of text-to-music models: AMT with a text prefix, and Llama with a second, musical vocabulary.

Both have `token_losses(...)`, the negative log-likelihood of every target, and `music_targets(labels)`, a mask of the
targets that are music after its start token: over those the two families can be compared. Labels are already shifted:
each is its position's own target, -100 where there is none.
"""

IGNORED = -100  # the label of a position that has no target
