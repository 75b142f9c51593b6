"""``python -m relucidate`` is the command line."""

from relucidate.cli import main

main()
