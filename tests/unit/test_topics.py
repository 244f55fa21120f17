"""The topic tree."""

from __future__ import annotations

import pytest

from focusd.link.topics import Topics

TOPICS = Topics("bench1")


@pytest.mark.parametrize(
    ("topic", "command"),
    [
        ("focusd/bench1/request/job/start", "job/start"),
        ("focusd/bench1/request/stop", "stop"),
        ("focusd/bench1/set", "set"),
        ("focusd/bench1/request/", ""),
        ("focusd/bench1/request", None),
        ("focusd/bench1/set/x", None),
        ("focusd/bench2/request/stop", None),
        ("focusd/bench1x/request/stop", None),
        ("focusd/bench1/response/stop", None),
        ("other/focusd/bench1/request/stop", None),
        ("", None),
    ],
)
def test_which_command_a_topic_carries(topic: str, command: str | None) -> None:
    assert TOPICS.command(topic) == command


def test_names_are_the_contract_s() -> None:
    assert TOPICS.of("image/final") == "focusd/bench1/image/final"
    assert TOPICS.response("job/start") == "focusd/bench1/response/job/start"
    assert TOPICS.requests == "focusd/bench1/request/#"
