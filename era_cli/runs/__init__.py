"""Run folders: a run's document, its files and its curves. Loads no torch."""
