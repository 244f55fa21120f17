"""The figures of benchmarks, kept over time where FOCUSD_HISTORY names a file, and drawn.

FOCUSD_HISTORY=bench.jsonl make bench
python tests/bench/history.py bench.jsonl -o bench.html
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from focusd.atomic import write_bytes
from focusd.compare.history import charts, read, record
from focusd.compare.page import render_benchmarks


def keep(bench: str, figures: Mapping[str, float]) -> None:
    """Add the figures of a run; their names end in their unit: ``_s``, ``_ms_mp``, ``_mb``, ``_db``."""
    if path := os.environ.get("FOCUSD_HISTORY"):
        record(Path(path), bench, figures)


def main() -> None:
    """Draw a history."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("history", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html")
    args = parser.parse_args()
    entries, faults = read(args.history)
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    write_bytes(args.output, render_benchmarks(charts(entries)).encode())


if __name__ == "__main__":
    main()
