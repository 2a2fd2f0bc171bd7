"""`python -m rr.cli` is rrctl."""

from rr.cli import main

main()
