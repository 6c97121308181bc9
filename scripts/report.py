"""Compare runs: python scripts/report.py RUNS_DIR ... (the same as headstart report)."""

import sys

from headstart.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
