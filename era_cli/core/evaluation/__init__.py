"""A trained network's predictions and what they say. Loads no lightning."""
