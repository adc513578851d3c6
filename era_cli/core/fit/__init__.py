"""`era fit`: from a request to a run folder, and from a run to its result."""
