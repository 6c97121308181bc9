"""Run an experiment: python scripts/train.py key=value ... (the same as headstart train)."""

import sys

from headstart.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
