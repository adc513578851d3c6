"""Image sources, each decoded once into uint8 arrays: in memory, or memory-mapped from the user's cache."""
