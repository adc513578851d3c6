"""Results drawn as matplotlib figures."""
