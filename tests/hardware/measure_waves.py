"""How pulses come on a busy machine: by lgpio's senders and the daemon's own, on a real kernel in real time.

Not a test: it prints the figures behind decision 0013. ``python -m tests.hardware.measure_waves KERNEL``,
where KERNEL is what ``.ci/hardware`` built. 2,000 pulses at 600 Hz each, alone and beside a program that
takes all the time it gets on the one processor there is; counted from the kernel's trace.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hardware import stage, trace
from tests.hardware.machine import Machine

STEP, NOMINAL_MS = 17, 1000 / 600
SENDERS = ("wave", "pulse", "pins", "native")


def main(kernel: Path) -> None:
    """Boot, measure, print."""
    acts = [["online"], *(["burst", sender, burners] for burners in (0, 1) for sender in SENDERS)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        stage.install(folder / "stage", folder / "wheel")
        stage.furnish(folder / "stage", stage.configuration(), acts)
        Machine(kernel, folder / "stage", folder / "out", virtual=False).start().wait(600)
        facts = json.loads((folder / "out" / "facts.json").read_text())
        seen = trace.read(folder / "out" / "writes.txt")
    print(facts["error"] or "")
    print("sender   burners  pulses  gaps < half  shortest ms  longest ms  shortest pulse us")
    for act, arguments, began_ns, ended_ns, _ in facts["acts"]:
        if act != "burst":
            continue
        sender, burners = arguments
        during = seen.between(began_ns, ended_ns)
        gaps_ms = [(b - a) / 1e6 for a, b in pairwise(during.rises(STEP))]
        short = sum(gap < NOMINAL_MS / 2 for gap in gaps_ms)
        width_us = min(pulse.width_ns for pulse in during.pulses(STEP)) / 1e3
        print(
            f"{sender:8} {burners:7} {len(during.pulses(STEP)):7} {short:12} {min(gaps_ms):12.3f} "
            f"{max(gaps_ms):11.1f} {width_us:18.1f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
