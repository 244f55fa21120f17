"""Roots of a Debian of their own, kept pristine in a cache, and programs run in a copy of one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "focusd-install"
# What an image for a Pi has that a minimal root lacks.
_INCLUDED = "ca-certificates,systemd,udev"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON = re.compile(r"((https?|ftp|no|all)_proxy|ssl_cert_file|requests_ca_bundle)", re.IGNORECASE)
# The way to the packages; folders of this machine are not there in the root.
_PIP_OPTIONS = ("cert", "client-cert", "default-timeout", "index-url", "proxy", "retries", "trusted-host")
# A root may take 2 GB; where memory is short it lies on disk.
_ROOMY_KB = 8_000_000
# Lays a copy over the pristine root, in mounts that nobody else sees and that go with the one who holds them.
_HOLD = """
set -e
base=$1 work=$2 memory=$3
[ -z "$memory" ] || mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/own" "$work/root"
# Where one overlay may not lie on another, as in some containers, every file is copied.
layers=lowerdir=$base,upperdir=$work/upper,workdir=$work/own
mount -t overlay -o "$layers" overlay "$work/root" 2>/dev/null || cp -a "$base/." "$work/root/"
mkdir -p "$work/root/dev/shm"
mount -t tmpfs tmpfs "$work/root/dev/shm"
echo ready
exec cat
"""
_ENTER = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"""
# All that making and entering a root takes of a kernel, in little.
_TRY = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/proc"
mount -t proc proc "$1/proc"
mknod "$1/null" c 1 3
echo >"$1/null"
chroot / true
"""
# Mounts and processes of its own, all gone when it ends.
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")


class Unavailable(Exception):
    """No root can be had here, though it could be; says why."""


class Forbidden(Unavailable):
    """This user or this machine may not; says what."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and all that it said."""

    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Root:
    """A root in which programs run.

    Parameters
    ----------
    place : Path
        Where the holder has it mounted.
    holder : int
        Process whose mounts these are.
    """

    place: Path
    holder: int

    @property
    def path(self) -> Path:
        """Where this process finds its files."""
        return Path(f"/proc/{self.holder}/root{self.place}")

    def run(self, *command: str, network: bool = True, timeout_s: float = 1800.0) -> Outcome:
        """Run a program in it as root, to its end.

        Parameters
        ----------
        *command : str
            Program and arguments; paths are the root's.
        network : bool
            Whether it reaches anything but itself.
        timeout_s : float
            Longest it may take.

        Returns
        -------
        Outcome
            With both outputs in one.

        Raises
        ------
        subprocess.TimeoutExpired
            It took longer.
        """
        enter = ["nsenter", "--target", str(self.holder), "--mount", "--"]
        enter += [*_ALONE] if network else [*_ALONE, "--net"]
        enter += ["--", "sh", "-c", _ENTER, "enter", str(self.place)]
        done = subprocess.run(
            [*enter, *command],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        return Outcome(done.returncode, done.stdout)

    def python(self, script: str) -> str:
        """Run Python code with the installed venv, which alone it sees; return what it prints.

        Raises
        ------
        AssertionError
            It did not end with 0.
        """
        done = self.run("/opt/focusd/bin/python", "-I", "-c", script)
        assert done.code == 0, done.said
        return done.said.strip()


@contextmanager
def fresh(suite: str) -> Iterator[Root]:
    """Copy the pristine root of a suite, made first where there is none; it is gone afterwards.

    Raises
    ------
    Unavailable
        A program or the archive is missing.
    Forbidden
        This user or this machine may not.
    """
    base = _base(suite)
    folder = Path(mkdtemp(prefix=f"{suite}-run-", dir=CACHE))
    hold = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _HOLD, "hold"]
    hold += [str(base), str(folder), "memory" if _memory_kb() > _ROOMY_KB else ""]
    holder = subprocess.Popen(
        hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert holder.stdout is not None
    try:
        said = holder.stdout.readline().strip()
        if said != "ready":
            raise Unavailable(f"a root cannot be entered here: {said}")
        root = Root(folder / "root", holder.pid)
        _furnish(root.path)
        kept, archives = CACHE / f"{suite}-archives", root.path / "var/cache/apt/archives"
        kept.mkdir(exist_ok=True)
        _add(kept, archives)
        yield root
        _add(archives, kept)
    finally:
        holder.communicate()
        shutil.rmtree(folder)


def _memory_kb() -> int:
    """Return the memory that is free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def _add(source: Path, target: Path) -> None:
    """Give one folder the packages of another, so that none is fetched twice."""
    for package in source.glob("*.deb"):
        if not (target / package.name).exists():
            shutil.copy(package, target)


def _base(suite: str) -> Path:
    """Return the pristine root of a suite."""
    _try()
    if shutil.which("debootstrap") is None:
        raise Unavailable("debootstrap is not installed here (apt install debootstrap)")
    base = CACHE / suite
    if not base.exists():
        begun = Path(mkdtemp(prefix=f"{suite}-base-", dir=CACHE))
        begun.chmod(0o755)
        command = [
            *_ALONE,
            "--",
            "debootstrap",
            "--variant=minbase",
            f"--include={_INCLUDED}",
            suite,
            str(begun),
        ]
        done = subprocess.run(
            [*command, *_mirror()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1800,
        )
        if done.returncode:
            shutil.rmtree(begun)
            raise Unavailable(f"debootstrap {suite} failed: {' | '.join(done.stdout.splitlines()[-3:])}")
        begun.rename(base)
    return base


def _try() -> None:
    """Refuse where a root can be neither made nor entered, as in many a container."""
    if os.geteuid() != 0:
        raise Forbidden("only root can make and enter a root of its own")
    for program in ("unshare", "nsenter", "chroot"):
        if shutil.which(program) is None:
            raise Forbidden(f"there is no {program} here")
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix="try-", dir=CACHE))
    done = subprocess.run(
        [*_ALONE, "--net", "--", "sh", "-c", _TRY, "try", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    folder.rmdir()
    if done.returncode:
        raise Forbidden(f"no root can be entered on this machine: {done.stderr.strip()}")


def _mirror() -> list[str]:
    """Return the mirror of Debian that this machine uses; empty for debootstrap's own."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        for line in path.read_text().splitlines():
            found = re.search(r"https?://\S*/debian/?(?=\s|$)", line)
            if found and not line.lstrip().startswith("#"):
                return [found.group()]
    return []


def _furnish(root: Path) -> None:
    """Give a root this machine's way to the packages, and see that no package starts a service in it."""
    for name in ("resolv.conf", "hosts"):
        path = root / "etc" / name
        path.unlink(missing_ok=True)
        if (source := Path("/etc") / name).exists():
            path.write_bytes(source.read_bytes())
    if _CERTIFICATES.exists():
        (root / _CERTIFICATES.relative_to("/")).write_bytes(_CERTIFICATES.read_bytes())
    for path in Path("/etc/apt").glob("a*.conf.d/*"):
        # Proxies, certificates and passwords; what else it has are this machine's habits.
        if path.parent.name == "auth.conf.d" or "Acquire" in path.read_text():
            target = root / path.relative_to("/")
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    (root / "etc/apt/apt.conf.d/zz-keep").write_text(
        'Binary::apt-get::APT::Keep-Downloaded-Packages "true";\n'
    )
    excluded = "".join(f"path-exclude=/usr/share/{name}/*\n" for name in ("doc", "man", "locale", "icons"))
    (root / "etc/dpkg/dpkg.cfg.d/quick").write_text(f"force-unsafe-io\n{excluded}")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def _environment() -> dict[str, str]:
    """Return the environment of programs in a root."""
    kept = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    for line in told.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].lower().replace("_", "-")
        if option in _PIP_OPTIONS:
            kept["PIP_" + option.upper().replace("-", "_")] = value.strip("'\"")
    return {
        **kept,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM": "dumb",
    }
