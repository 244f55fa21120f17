"""Opening pins where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from focusd.drivers.pins import open_pins
from focusd.errors import ConfigError


@pytest.mark.skipif(Path("/dev/gpiochip0").exists(), reason="this machine has pins")
@pytest.mark.parametrize("library", ["lgpio", "rpigpio"])
def test_no_pins_is_an_error_and_never_a_mock(library: str) -> None:
    with pytest.raises(ConfigError, match=rf'gpio is "{library}" but'):
        open_pins(library)  # type: ignore[arg-type]
