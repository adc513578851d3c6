"""Class activation maps of a trained network, and how faithful they are. Loads no lightning."""
