"""What several unit tests share: the two ways of fusing, compiled and plain."""

from __future__ import annotations

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
