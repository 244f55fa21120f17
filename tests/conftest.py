"""What every suite shares: system tests that may not skip fail instead, and slowness fails no property."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("focusd", deadline=None)
settings.load_profile("focusd")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI (FOCUSD_NO_SKIP set) nothing that could run there is allowed to skip."""
    del call
    report = yield
    if report.skipped and os.environ.get("FOCUSD_NO_SKIP") and "tests/system" in item.nodeid:
        reason: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped where it may not: {reason}"
    return report
