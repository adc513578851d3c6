"""Everything that may go wrong around a run, tried: `make faults` tries all of it, `make test` the sharpest part."""
