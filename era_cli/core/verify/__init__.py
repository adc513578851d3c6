"""`era verify`: a run's steps replayed, and what they give compared with what the run recorded."""
