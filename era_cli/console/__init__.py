"""Results as Rich tables, and progress."""
