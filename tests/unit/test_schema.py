"""Complaints in plain words, whatever the shape of the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from focusd.schema import Strict, complaints, did_you_mean


class Leaf(Strict):
    kind: Literal["leaf"] = "leaf"
    green_nm: float = 530.0


class Root(Strict):
    kind: Literal["root"] = "root"
    depth_um: float = 3.0


class Tree(Strict):
    part: Annotated[Leaf | Root, Field(discriminator="kind")] = Leaf()
    named: dict[str, Root] = Field({})
    several: Annotated[tuple[Root, ...], Field(strict=False)] = ()
    maybe: Root | None = None
    height_m: float = Field(1.0, gt=0)


def said(table: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as raised:
        Tree.model_validate(table)
    return complaints(raised.value, Tree)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"heigth_m": 1}, "heigth_m: unknown key 'heigth_m' (did you mean 'height_m'?)"),
        ({"q": 1}, "q: unknown key 'q'; known here: height_m, maybe, named, part, several"),
        (
            {"part": {"kind": "leaf", "gren_nm": 1}},
            "gren_nm: unknown key 'gren_nm' (did you mean 'green_nm'?)",
        ),
        (
            {"part": {"kind": "leaf", "depht_um": 1}},
            "depht_um: unknown key 'depht_um'; known here: green_nm, kind",
        ),
        (
            {"named": {"a": {"depht_um": 1}}},
            "named.a.depht_um: unknown key 'depht_um' (did you mean 'depth_um'?)",
        ),
        ({"several": [{}, {"depht_um": 1}]}, "several.1.depht_um: unknown key 'depht_um' (did you mean"),
        ({"maybe": {"depht_um": 1}}, "maybe.depht_um: unknown key 'depht_um' (did you mean 'depth_um'?)"),
        ({"height_m": 0}, "height_m: Input should be greater than 0, got 0"),
        ({"height_m": "1"}, "height_m: Input should be a valid number, got '1'"),
        ({"height_m": float("nan")}, "height_m: Input should be a finite number, got nan"),
        ({"maybe": [1, 2]}, "maybe: Input should be"),
    ],
)
def test_one_fault(table: dict[str, Any], line: str) -> None:
    (only,) = said(table)
    assert line in only


def test_a_container_is_not_repeated_in_full() -> None:
    (line,) = said({"height_m": list(range(10_000))})
    assert len(line) < 100


def test_a_value_is_not_repeated_in_full() -> None:
    (line,) = said({"height_m": "x" * 10_000})
    assert len(line) < 1000


def test_every_fault_has_its_line() -> None:
    assert len(said({"height_m": -1, "maybe": {"x": 1}, "part": {"kind": "root", "depth_um": "d"}})) == 3


def test_instances_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Tree().height_m = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("word", "hint"),
    [("stat", " (did you mean 'start'?)"), ("zzzz", ""), ("", ""), ("start", " (did you mean")],
)
def test_the_nearest_name(word: str, hint: str) -> None:
    assert did_you_mean(word, ["start", "cancel"]).startswith(hint)
    assert bool(did_you_mean(word, ["start", "cancel"])) == bool(hint)
