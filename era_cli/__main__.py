"""`python -m era_cli` is `era`."""

from era_cli.cli import main

main()
