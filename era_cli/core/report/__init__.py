"""What the page of a run shows: which images, and their heat maps. Loads no lightning."""
