"""Two runs, or two groups of runs, told apart on the same images."""
