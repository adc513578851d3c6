"""Sources of images, all decoded once into arrays of uint8: in memory, or mapped from the user's cache."""
