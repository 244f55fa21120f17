"""The build hook: compiles the inner loops of fusion, and a motor's beat, where there is a C compiler.

Without one the package is built all the same, fuses with NumPy and OpenCV alone and times steps in Python.
``FOCUSD_KERNEL=compiled`` makes a kernel that cannot be built an error (releases), ``FOCUSD_KERNEL=plain``
builds without it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

SOURCE = Path("daemon/focusd/fusion/kernel.c")
LIBRARY = Path("daemon/focusd/fusion/_kernel.so")
PULSES = Path("daemon/focusd/drivers/pulses.c")
PULSES_LIBRARY = Path("daemon/focusd/drivers/_pulses.so")

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno", "-fPIC", "-shared")
"""The same for every machine. CFLAGS is not heeded: fused multiplication or ``-ffast-math`` would give other
sums than the next machine's, and partial fusions made on two machines would no longer merge."""

_COMPILERS = ("cc", "gcc", "clang")


class NoKernel(Exception):
    """The kernel was not built; says why."""


def compiler() -> list[str]:
    """Command of the C compiler: ``$CC``, with its arguments, or else the first of cc, gcc and clang.

    Raises
    ------
    NoKernel
        There is none.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen and shutil.which(chosen[0]) is None:
        raise NoKernel(f"there is no {chosen[0]}, which CC names; unset CC or install it")
    for name in _COMPILERS:
        if chosen:
            break
        chosen = [name] if shutil.which(name) else []
    if not chosen:
        raise NoKernel("no C compiler; apt install gcc libc6-dev")
    return chosen


def compile_kernel(
    source: Path, library: Path, extra: Sequence[str] = (), probe: str = "focusd_kernel_version"
) -> None:
    """Compile `source` to `library`, which is replaced at once or not at all.

    Parameters
    ----------
    source, library : Path
        The C file and the shared library.
    extra : sequence of str
        More arguments for the compiler.
    probe : str
        A function without arguments that the library has.

    Raises
    ------
    NoKernel
        There is no compiler, it failed, or what it made does not load here.
    """
    command = compiler()
    # A running daemon may have the old one open.
    fresh = library.with_name(f"{library.stem}.{os.getpid()}.tmp")
    try:
        done = subprocess.run(
            [*command, *FLAGS, *extra, "-o", str(fresh), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise NoKernel(f"{command[0]}: {next((line for line in said if 'error' in line), said[-1])}")
        try:
            # The wheel's tag names this machine, so the library must be for it.
            getattr(ctypes.CDLL(str(fresh)), probe)()
        except (OSError, AttributeError) as error:
            raise NoKernel(f"{command[0]} made a library that does not load: {error}") from error
        fresh.replace(library)
    finally:
        fresh.unlink(missing_ok=True)


def platform_tag() -> str:
    """Return the wheel tag of the machine itself, such as ``linux_aarch64``.

    No manylinux tag: whether one holds depends on the C library linked with, which auditwheel checks when a
    release is built. A 32-bit Python on a 64-bit kernel has a tag of its own (``linux_armv8l``).
    """
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


class KernelHook(BuildHookInterface[Any]):
    """Puts what was compiled into a wheel, or beside its source for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is packed; `version` is "standard" or "editable"."""
        root = Path(self.root)
        editable = version == "editable"
        self._folder = TemporaryDirectory(prefix="focusd-kernel-")
        wish = os.environ.get("FOCUSD_KERNEL")
        for source, place, probe in (
            (SOURCE, LIBRARY, "focusd_kernel_version"),
            (PULSES, PULSES_LIBRARY, "focusd_pulses_version"),
        ):
            library = root / place if editable else Path(self._folder.name) / place.name
            try:
                if wish == "plain":
                    raise NoKernel("FOCUSD_KERNEL=plain")
                compile_kernel(root / source, library, probe=probe)
            except NoKernel as reason:
                if wish == "compiled":
                    self._folder.cleanup()
                    raise
                # One from an older source may call for other arguments than are passed now.
                library.unlink(missing_ok=True)
                self.app.display_warning(f"focusd: built without its compiled {source.name} ({reason})")
                continue
            if not editable:
                build_data["force_include"][str(library)] = str(place.relative_to("daemon"))
                build_data["pure_python"] = False
                # No Python.h: one wheel serves every Python of a platform.
                build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled for the wheel alone."""
        del version, build_data, artifact_path
        self._folder.cleanup()
