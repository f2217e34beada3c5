"""``python -m minisn.cli``: the same as ``minisn``."""

from . import main

main(prog_name="minisn")
