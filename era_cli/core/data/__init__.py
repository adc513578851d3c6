"""Sources of images, all decoded once into arrays of uint8 in memory."""
