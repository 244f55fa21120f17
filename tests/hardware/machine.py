"""A machine that is this one, with a kernel of its own: user-mode Linux over the tester's root."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

INIT = Path(__file__).with_name("init.sh")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is booted.

    Parameters
    ----------
    kernel : Path
        The program that is the kernel.
    stage : Path
        Folder laid over ``/``.
    out : Path
        Folder that the machine writes into.
    virtual : bool
        Whether its time jumps: sleeping and computing then take no time at all, and runs are repeatable.
    """

    kernel: Path
    stage: Path
    out: Path
    virtual: bool

    def start(self) -> subprocess.Popen[bytes]:
        """Boot it; its console goes to ``console.txt``."""
        command = [str(self.kernel), "mem=1024M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
        command += ["con=null", "con0=null,fd:1", "console=tty0", f"init={INIT}"]
        command += [f"STAGE={self.stage}", f"OUT={self.out}"]
        command.append("quiet")
        if self.virtual:
            command.append("time-travel=inf-cpu")
        with (self.out / "console.txt").open("wb") as console:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": os.environ["PATH"], "HOME": "/root", "TMPDIR": str(self.out)},
                start_new_session=True,
            )
