"""Builds the kernel for several machines and shows that all of them come to the same bits.

`tests/kernel/driver.c` fuses made-up frames and prints a hash of every plane. It is built as the package
builds the kernel, for older and newer vector units, for ARM (run by qemu-user) and with sanitizers. What is
not installed here is named and left out; with FOCUSD_NO_SKIP set only what is `extra`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from build_kernel import FLAGS, NoKernel, compiler

ROOT = Path(__file__).resolve().parents[1]
DRIVER = ROOT / "tests" / "kernel" / "driver.c"
KERNEL = ROOT / "daemon" / "focusd" / "fusion" / "kernel.c"
PROGRAM_FLAGS = tuple(flag for flag in FLAGS if flag not in ("-fPIC", "-shared"))
SANITIZERS = ("-O1", "-g", "-DKERNEL_PORTABLE", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FUSED = ("-DKERNEL_PORTABLE", "-march=x86-64-v3", "-ffp-contract=fast")
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")
X86, ARM = "x86_64", "aarch64"
# psABI for x86-64, table 3.1, as far as Linux shows it.
V3 = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build the driver, and what it takes to run it.

    Parameters
    ----------
    name : str
        For the reader.
    compiler : str
        Command; empty for the machine's own.
    flags : tuple of str
        Beside `PROGRAM_FLAGS`.
    machine : str
        What it runs on, as `platform.machine` calls it; empty for any.
    features : frozenset of str
        What the processor must have, as /proc/cpuinfo calls it.
    emulator : str
        What runs it elsewhere.
    same : bool
        Whether the bits must be the reference's, or must not: then it shows that the comparison can fail.
    extra : bool
        Whether it may be left out everywhere: not every machine can do it.
    """

    name: str
    compiler: str = ""
    flags: tuple[str, ...] = ()
    machine: str = ""
    features: frozenset[str] = frozenset()
    emulator: str = ""
    same: bool = True
    extra: bool = False

    def lack(self) -> str | None:
        """Name what is missing here to build and run it."""
        if self.compiler and shutil.which(self.compiler) is None:
            return f"no {self.compiler}"
        if self.machine and self.machine != platform.machine():
            if not self.emulator:
                return f"this machine is {platform.machine()}"
            if shutil.which(self.emulator) is None:
                return f"no {self.emulator}"
        missing = sorted(self.features - cpu_features())
        return f"the processor has no {missing[0]}" if missing else None

    def hashes(self, own: list[str], folder: Path) -> str:
        """Build and run the driver; return what it prints.

        Raises
        ------
        subprocess.CalledProcessError
            It could not be built, or stopped: a sanitizer found something.
        """
        program = folder / self.name.replace(" ", "-").replace(",", "")
        command = [self.compiler] if self.compiler else own
        run([*command, *PROGRAM_FLAGS, *self.flags, "-o", str(program), str(DRIVER)])
        foreign = self.machine not in ("", platform.machine())
        return run([*([self.emulator] if foreign else []), str(program)])


REFERENCE = Variant("as shipped")
VARIANTS = (
    Variant("no vectors beyond the machine's baseline", flags=("-DKERNEL_PORTABLE",)),
    Variant("no vectors at all", flags=("-DKERNEL_PORTABLE", "-fno-tree-vectorize")),
    Variant("x86-64-v3, AVX2", "", ("-DKERNEL_PORTABLE", "-march=x86-64-v3"), X86, V3, extra=True),
    Variant("x86-64-v4, AVX-512", "", ("-DKERNEL_PORTABLE", "-march=x86-64-v4"), X86, V4, extra=True),
    Variant("clang", "clang", extra=True),
    Variant("aarch64", "aarch64-linux-gnu-gcc", ("-static",), ARM, emulator="qemu-aarch64-static"),
    Variant(
        "armhf", "arm-linux-gnueabihf-gcc", ("-static",), "armv7l", emulator="qemu-arm-static", extra=True
    ),
    Variant("address and undefined sanitizers", flags=SANITIZERS),
    Variant("fused multiply-add, must differ", "", FUSED, X86, V3, same=False, extra=True),
)


def cpu_features() -> frozenset[str]:
    """Return what the processor can do, as /proc/cpuinfo calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def run(command: list[str]) -> str:
    """Run a command to its end; return what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def verdict(variant: Variant, reference: str, own: list[str], folder: Path) -> tuple[bool, str]:
    """Whether `variant` is as it must be, and a line about it."""
    lack = variant.lack()
    if lack is not None:
        if os.environ.get("FOCUSD_NO_SKIP") and not variant.extra:
            return False, f"FAILED    {variant.name}, skipped where it may not: {lack}"
        return True, f"skipped   {variant.name}: {lack}"
    try:
        hashes = variant.hashes(own, folder)
    except subprocess.CalledProcessError as error:
        return False, f"FAILED    {variant.name}: exit code {error.returncode}\n{error.stderr[-3000:]}"
    pairs = zip(hashes.splitlines(), reference.splitlines(), strict=True)
    others = [one for one, other in pairs if one != other]
    line = f"{variant.name}: {len(others)} of {len(reference.splitlines())} planes differ"
    if bool(others) == variant.same:
        return False, f"FAILED    {line}" + (f", the first {others[0]}" if others else "")
    return True, f"as wanted {line}"


def main() -> int:
    """Build and compare. Returns the exit code: 0 all that could be built is right, 1 not."""
    begin_s = time.monotonic()
    try:
        own = compiler()
    except NoKernel as reason:
        print(f"skipped: {reason}")
        return 1 if os.environ.get("FOCUSD_NO_SKIP") else 0
    with TemporaryDirectory(prefix="focusd-kernel-") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        try:
            run([*own, *PROGRAM_FLAGS, *WARNINGS, "-c", "-o", str(folder / "kernel.o"), str(KERNEL)])
            reference = REFERENCE.hashes(own, folder)
        except subprocess.CalledProcessError as error:
            print(f"FAILED    {' '.join(own)}, warnings being errors:\n{error.stderr[-3000:]}")
            return 1
        good = True
        for right, line in pool.map(lambda each: verdict(each, reference, own, folder), VARIANTS):
            good = good and right
            print(line)
    print(f"{len(reference.splitlines())} planes, {time.monotonic() - begin_s:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
