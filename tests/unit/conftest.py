"""What several unit tests share: the two ways of fusing, and a pseudo-terminal where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from focusd.fusion import blend
from focusd.fusion.compiled import library


@pytest.fixture(params=["compiled", "plain"])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test on each way of fusing; all examples of a property run on the same."""
    way: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        if way == "plain":
            patch.setattr(blend, "library", lambda: None)
        elif library() is None:
            pytest.skip(
                "no _kernel.so beside daemon/focusd/fusion (or FOCUSD_KERNEL=plain): `make test` builds it"
            )
        yield way


@pytest.fixture(scope="session")
def pseudo_terminals() -> None:
    """Skip where the machine has none, as a container without /dev/pts."""
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        pytest.skip(f"there are no pseudo-terminals here ({error.strerror}); mount /dev/pts")
    os.close(ours)
    os.close(theirs)
