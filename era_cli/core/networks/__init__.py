"""Networks: their layers, initialization, checkpoints and summary. Loads no lightning."""
