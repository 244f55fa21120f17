"""The work behind a page: aligned, fused and judged, each step only where nobody did it before.

Every step is known by the bytes it works on, the settings that matter to it and the code that does it. With
one setting changed only what depends on it is done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusd.compare import work
from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.cache import Arrays, Cache, key_of, mark_of
from focusd.compare.crops import Crop, Witness
from focusd.compare.dish import Dish, Failure
from focusd.compare.fidelity import Fidelity, fidelity
from focusd.compare.frames import Stack
from focusd.compare.methods import METHODS
from focusd.compare.metrics import Judge, Scores
from focusd.compare.recipe import Laid, Picture, Recipe
from focusd.compare.work import Cost
from focusd.errors import FocusdError
from focusd.pictures.images import read_image
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, white_of

# What reads frames, and what keeps results, is part of every step.
_SHARED = (
    *("pictures", "sources.py", "compare/frames.py"),
    *("compare/cache.py", "compare/kitchen.py", "compare/work.py"),
)
CODE: dict[str, tuple[str, ...]] = {
    "judge": (*_SHARED, "compare/metrics.py", "fusion"),
    "truth": (*_SHARED, "compare/fidelity.py", "compare/metrics.py"),
    "witness": (*_SHARED, "compare/crops.py", "compare/metrics.py"),
}
"""What each step runs, beside aligning and fusing, which name it themselves."""


@dataclass(frozen=True, slots=True)
class _Fused:
    recipe: Recipe
    key: str
    picture: Picture
    cost: Cost
    is_fresh: bool


class Kitchen:
    """Makes pictures by recipes and has them judged.

    Parameters
    ----------
    cache : Cache
        What was done before.
    find, fuse : callable
        Who does the work; a process of its own for each piece by default.
    tell : callable, optional
        Told what is begun, for people.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        find: work.Find = work.find_apart,
        fuse: work.Fuse = work.fuse_apart,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.computed: Counter[str] = Counter()
        """Steps really done, by name: align, fuse, judge (a pass over the frames), truth, witness."""
        self._cache = cache
        self._find, self._fuse = find, fuse
        self._tell = tell or (lambda _: None)
        self._marks: dict[Path, str] = {}

    def serve(
        self, stack: Stack, recipes: Sequence[Recipe], truth: Path | None = None
    ) -> tuple[list[Dish], list[Failure]]:
        """Make a picture by each recipe; what cannot be made does not stop the others.

        Raises
        ------
        FocusdError
            A file of the stack or a truth that cannot be read.
        """
        given = None if truth is None else read_image(truth)
        dishes: dict[Recipe, Dish] = {}
        failures: list[Failure] = []
        for align in dict.fromkeys(recipe.align for recipe in recipes):
            wanted = [recipe for recipe in recipes if recipe.align == align]
            try:
                laid, aligning, mark = self._laid(stack, align)
            except FocusdError as error:
                failures += [Failure(recipe, str(error)) for recipe in wanted]
                continue
            fused = []
            for recipe in wanted:
                try:
                    fused.append(self._picture(stack, recipe, laid, mark))
                except FocusdError as error:
                    failures.append(Failure(recipe, str(error)))
            try:
                scores = self._judged(stack, align, laid, fused)
            except FocusdError as error:
                failures += [Failure(each.recipe, str(error)) for each in fused]
                continue
            for each, found in zip(fused, scores, strict=True):
                near = None
                if given is not None and truth is not None:
                    near = self._truth(each, given, truth, laid.margin_px)
                dishes[each.recipe] = Dish(
                    each.recipe,
                    each.picture,
                    sum(facts is not None for facts in laid.facts) if align != "off" else len(stack.sources),
                    each.cost,
                    aligning,
                    found,
                    near,
                    each.is_fresh,
                    laid.margin_px,
                )
        return [dishes[recipe] for recipe in recipes if recipe in dishes], failures

    def witness(self, stack: Stack, align: str, crops: Sequence[Crop]) -> list[tuple[int, Image]]:
        """Find for each crop the frame that is sharpest there: its number, and its samples, BGR or grey."""
        laid, _, mark = self._laid(stack, align)
        places = [(crop.left, crop.top, crop.cols, crop.rows) for crop in crops]
        key = key_of("witness", CODE["witness"], self._stack_marks(stack), mark, places)
        if kept := self._cache.load(key):
            numbers = kept.facts["numbers"]
            return [(number, kept.arrays[str(at)]) for at, number in enumerate(numbers)]
        self._tell(f"{stack.name}: the sharpest frame of each crop")
        seen = Witness(crops)
        work.frames_of(stack, align, laid).each(lambda number, frame, _: seen.add(number, frame))
        self.computed["witness"] += 1
        found = seen.found()
        arrays = {str(at): image for at, (_, image) in enumerate(found)}
        self._cache.save(key, {"numbers": [number for number, _ in found]}, arrays)
        return found

    def _laid(self, stack: Stack, align: str) -> tuple[Laid, Cost | None, str]:
        """Return where the frames lie, what finding out took, and the name of all that it depends on."""
        if align == "off":
            return Laid((None,) * len(stack.sources)), None, "off"
        key = key_of("align", (*_SHARED, *ALIGNMENTS[align].code), align, self._stack_marks(stack))
        if kept := self._cache.load(key):
            facts = kept.facts
            return Laid(tuple(facts["facts"]), facts["margin_px"]), Cost(**facts["cost"]), key
        self._tell(f"{stack.name}: aligning, {align}")
        laid, cost = self._find(stack, align)
        self.computed["align"] += 1
        self._cache.save(key, {"facts": laid.facts, "margin_px": laid.margin_px, "cost": asdict(cost)})
        return laid, cost, key

    def _picture(self, stack: Stack, recipe: Recipe, laid: Laid, mark: str) -> _Fused:
        # What frames are decoded side by side changes no picture, but its time and memory.
        key = key_of(
            "fuse",
            (*_SHARED, *METHODS[recipe.method].code),
            recipe.method,
            recipe.settings,
            self._stack_marks(stack),
            stack.jobs,
            mark,
        )
        if kept := self._cache.load(key):
            picture = Picture(_image_of(kept.arrays), kept.facts["white"])
            return _Fused(recipe, key, picture, Cost(**kept.facts["cost"]), is_fresh=False)
        self._tell(f"{stack.name}: {recipe.label}")
        picture, cost = self._fuse(stack, recipe, laid)
        self.computed["fuse"] += 1
        self._cache.save(key, {"white": picture.white, "cost": asdict(cost)}, _arrays_of(picture.image))
        return _Fused(recipe, key, picture, cost, is_fresh=True)

    def _judged(self, stack: Stack, align: str, laid: Laid, fused: Sequence[_Fused]) -> list[Scores]:
        """Score pictures that share an alignment: one pass over the frames for all that are new."""
        found: dict[int, Scores] = {}
        keys = [key_of("judge", CODE["judge"], each.key) for each in fused]
        for number, key in enumerate(keys):
            if kept := self._cache.load(key):
                found[number] = Scores(**kept.facts, tiles=kept.arrays["tiles"])
        new = [number for number in range(len(fused)) if number not in found]
        if new:
            self._tell(f"{stack.name}: judging {len(new)} pictures by their frames")
            white = max(fused[number].picture.white for number in new)
            judge = Judge(
                [fused[number].picture.image for number in new], white=white, margin_px=laid.margin_px
            )
            work.frames_of(stack, align, laid).each(lambda _, frame, __: judge.add(frame))
            self.computed["judge"] += 1
            for number, scores in zip(new, judge.scores(), strict=True):
                found[number] = scores
                facts = {name: value for name, value in asdict(scores).items() if name != "tiles"}
                self._cache.save(keys[number], facts, {"tiles": scores.tiles})
        return [found[number] for number in range(len(fused))]

    def _truth(self, each: _Fused, truth: Image, path: Path, margin_px: int) -> Fidelity:
        key = key_of("truth", CODE["truth"], each.key, self._mark(path))
        if kept := self._cache.load(key):
            return Fidelity(**kept.facts)
        whites = each.picture.white, white_of(truth)
        found = fidelity(each.picture.image, truth, whites=whites, margin_px=margin_px)
        self.computed["truth"] += 1
        self._cache.save(key, asdict(found))
        return found

    def _stack_marks(self, stack: Stack) -> list[Any]:
        return [
            [self._mark(path) for path in stack.files],
            [source.position_um for source in stack.sources],
            [stack.flat is not None, stack.dark is not None],
        ]

    def _mark(self, path: Path) -> str:
        """Digest of a file, which must not change while its page is made."""
        if path not in self._marks:
            self._marks[path] = mark_of(path)
        return self._marks[path]


def _arrays_of(image: Image | Planes) -> Arrays:
    if isinstance(image, Planes):
        return {"luma": image.luma, "blue": image.blue, "red": image.red}
    return {"image": image}


def _image_of(arrays: Arrays) -> Image | Planes:
    if "image" in arrays:
        return np.asarray(arrays["image"])
    return Planes(arrays["luma"], arrays["blue"], arrays["red"])
