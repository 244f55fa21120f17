"""The strict pydantic base of everything that comes from outside, and its complaints in plain words."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


class Strict(BaseModel):
    """Unknown keys refused, values not coerced, instances frozen, infinities and NaN refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Seconds = Annotated[float, Field(ge=0, le=3600)]
# Absolute from the start: the daemon changes its working directory.
FilePath = Annotated[
    Path, BeforeValidator(lambda v: Path(v).expanduser().absolute() if isinstance(v, str) else v)
]

_MOST_FAULTS = 20
_LONGEST = 120


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `known`, or an empty string."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Every fault that pydantic found, one line each: where, what, and the nearest known name.

    Parameters
    ----------
    error : ValidationError
        As raised by ``model.model_validate``.
    model : type of BaseModel
        The model, to look up the names it knows.
    """
    lines = []
    faults = error.errors(include_url=False)
    for fault in faults[:_MOST_FAULTS]:
        where = ".".join(_short(str(part)) for part in _written(model, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            name = str(fault["loc"][-1])
            known = sorted(_names_at(model, fault["loc"][:-1]))
            hint = did_you_mean(name, known) or f"; known here: {', '.join(known)}"
            lines.append(f"{where}: unknown key '{_short(name)}'{hint}")
            continue
        value = fault.get("input")
        shown = (
            ""
            if isinstance(value, dict | list) or fault["type"] == "missing"
            else f", got {_short(repr(value))}"
        )
        message = fault["msg"].removeprefix("Value error, ")
        lines.append(_short(f"{where}: {message}{shown}" if where else message, 4 * _LONGEST))
    if len(faults) > _MOST_FAULTS:
        lines.append(f"and {len(faults) - _MOST_FAULTS} more faults")
    return lines


def _short(text: str, longest: int = _LONGEST) -> str:
    """Cut what a stranger sent to a length that can be shown."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _names_at(model: type[BaseModel], path: tuple[int | str, ...]) -> set[str]:
    """Names of the fields that may stand at `path`."""
    return {name for m in _walk(model, path)[0] for name in m.model_fields}


def _written(model: type[BaseModel], path: tuple[int | str, ...]) -> list[int | str]:
    """Return the path as it stands in the file: without the tags of unions."""
    return _walk(model, path)[1]


def _walk(
    model: type[BaseModel], path: tuple[int | str, ...]
) -> tuple[list[type[BaseModel]], list[int | str]]:
    """Return the models that `path` may lead to, and its parts that are keys or indices."""
    models: list[type[BaseModel]] = [model]
    written: list[int | str] = []
    for part in path:
        found = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        inner = [m for annotation in found for m in _models_in(annotation)]
        tagged = [m for m in models if not found and _tag(m) == part]
        if not tagged:
            written.append(part)
        models = inner or tagged or models
    return models, written


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models_in(argument)]


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return kind.default if kind else getattr(model, "tag", None)
