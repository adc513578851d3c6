"""One file per command: parse, call the core, render."""
