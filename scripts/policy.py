"""Search an augmentation: python scripts/policy.py key=value ... (the same as headstart policy)."""

import sys

from headstart.cli import main

if __name__ == "__main__":
    sys.exit(main(["policy", *sys.argv[1:]]))
