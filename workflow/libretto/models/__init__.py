"""The two families of text-to-music models: AMT with a text prefix, and Llama with a second, musical vocabulary.

Both give `token_losses(...)`, the negative log-likelihood of every target, and `music_targets(labels)`, which of the
targets are music after its start token: over those the two families can be compared. Labels are the targets themselves
(no shift is left to do), -100 where there is none.
"""

IGNORED = -100  # the label of a position that has no target
