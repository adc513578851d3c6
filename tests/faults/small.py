"""The size of what the harness trains and draws: the files are the same but for their size, and quick to write."""

CHANNELS = (8, 16, 32, 64)  # an eighth of the network's
DOTS = 30  # per inch of a figure, a fifth of what they have
