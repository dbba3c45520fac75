from __future__ import annotations
import argparse
from pathlib import Path
from collections.abc import Sequence
from longrun.drive import Options, drive

def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=86400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args(arguments)
    options.keep.mkdir(mode=0o755)
    drive(Options(options.seed, options.messages, options.seconds, options.keep.resolve()))
    return 0
