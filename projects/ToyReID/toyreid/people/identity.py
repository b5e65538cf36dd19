"""Who a synthetic person is: a description of build, clothes and belongings, without any picture.

Colours come from a short palette in which dark tones are common, so that many people share them;
and part of the people are *near twins*, the same in all but one detail. Both are on purpose: an
identity must not follow from its main colours alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255

CLOTH: dict[str, Colour] = {
    "black": (38, 38, 42),
    "grey": (120, 122, 126),
    "white": (226, 226, 222),
    "navy": (42, 52, 96),
    "blue": (58, 108, 186),
    "red": (184, 46, 46),
    "green": (58, 122, 72),
    "beige": (190, 166, 126),
    "brown": (106, 72, 48),
    "mustard": (212, 168, 48),
    "purple": (120, 66, 134),
}
# How often each is worn, in the order above.
CLOTH_SHARES = (0.18, 0.13, 0.13, 0.11, 0.11, 0.09, 0.07, 0.06, 0.05, 0.04, 0.03)
SKIN: tuple[Colour, ...] = ((240, 204, 178), (218, 172, 138), (166, 116, 84), (104, 70, 52))
HAIR: dict[str, Colour] = {
    "black": (30, 26, 26),
    "brown": (84, 54, 36),
    "blond": (206, 172, 106),
    "grey": (164, 162, 160),
    "red": (150, 66, 34),
}

TOPS = ("tshirt", "longsleeve", "jacket", "coat", "dress")
BOTTOMS = ("trousers", "shorts", "skirt")
PATTERNS = ("plain", "hoops", "stripes", "checks", "block")
HAIRSTYLES = ("bald", "short", "long", "bun")
EMBLEMS = ("disc", "bar", "square", "triangle", "cross", "ring")
BAGS = ("backpack", "shoulder_bag")


@dataclass(frozen=True)
class Person:
    """One identity. Colours are names of ``CLOTH`` or ``HAIR``; None means: has none.

    Attributes:
        height: body height relative to the average, about 0.88..1.08.
        width: body width relative to the average, about 0.82..1.25.
        skin: index into ``SKIN``.
        top_colour2: second colour of the pattern; the shirt under an open jacket or coat.
        logo: (emblem, colour) on the chest: seen from the front only.
        print_: (emblem, colour) between the shoulders: seen from the back only.
        backpack: seen from the back and the side; only its straps from the front.
        shoulder_bag: hangs at the left hip.
    """

    height: float
    width: float
    skin: int
    hairstyle: str
    hair: str
    top: str
    top_colour: str
    top_colour2: str
    pattern: str
    bottom: str
    bottom_colour: str
    shoes: str
    logo: tuple[str, str] | None = None
    print_: tuple[str, str] | None = None
    backpack: str | None = None
    shoulder_bag: str | None = None
    hat: str | None = None

    def differences(self, other: Person) -> list[str]:
        """Names of the attributes in which the two differ."""
        mine, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return [name for name in mine if mine[name] != others[name]]


def _cloth(rng: np.random.Generator, but: tuple[str | None, ...] = ()) -> str:
    """A cloth colour, none of those in ``but``."""
    shares = np.array(
        [0.0 if name in but else s for name, s in zip(CLOTH, CLOTH_SHARES, strict=True)]
    )
    return str(rng.choice(list(CLOTH), p=shares / shares.sum()))


def _emblem(rng: np.random.Generator, ground: str) -> tuple[str, str]:
    """An emblem in a colour that stands out from ``ground``."""
    light = sum(CLOTH[ground]) > 300
    dark_inks, light_inks = ("black", "navy", "red", "purple"), ("white", "mustard", "red", "blue")
    inks = [c for c in (dark_inks if light else light_inks) if c != ground]
    return str(rng.choice(EMBLEMS)), str(rng.choice(inks))


def random_person(rng: np.random.Generator) -> Person:
    """Draw one identity."""
    top = str(rng.choice(TOPS, p=(0.30, 0.24, 0.24, 0.12, 0.10)))
    colour = _cloth(rng)
    patterned = top in ("tshirt", "longsleeve", "dress")
    pattern = str(rng.choice(PATTERNS, p=(0.5, 0.15, 0.1, 0.1, 0.15))) if patterned else "plain"
    second = _cloth(rng, but=(colour,))
    has_logo = top in ("tshirt", "longsleeve") and pattern == "plain" and rng.random() < 0.55
    has_print = top in ("tshirt", "longsleeve", "jacket") and rng.random() < 0.4
    bag = str(rng.choice(("none", *BAGS), p=(0.45, 0.3, 0.25)))
    return Person(
        height=round(float(rng.uniform(0.88, 1.08)), 3),
        width=round(float(rng.uniform(0.84, 1.22)), 3),
        skin=int(rng.choice(len(SKIN), p=(0.35, 0.3, 0.2, 0.15))),
        hairstyle=str(rng.choice(HAIRSTYLES, p=(0.08, 0.5, 0.28, 0.14))),
        hair=str(rng.choice(list(HAIR), p=(0.36, 0.28, 0.16, 0.12, 0.08))),
        top=top,
        top_colour=colour,
        top_colour2=second,
        pattern=pattern,
        bottom=str(rng.choice(BOTTOMS, p=(0.66, 0.2, 0.14))),
        bottom_colour=_cloth(rng, but=(colour,) if rng.random() < 0.7 else ()),
        shoes=_cloth(rng),
        logo=_emblem(rng, colour) if has_logo else None,
        print_=_emblem(rng, colour) if has_print else None,
        backpack=_cloth(rng, but=(colour,)) if bag == "backpack" else None,
        shoulder_bag=_cloth(rng, but=(colour,)) if bag == "shoulder_bag" else None,
        hat=_cloth(rng) if rng.random() < 0.22 else None,
    )


TWIN_DETAILS = ("bottom_colour", "shoes", "bag", "hat", "hair", "emblem", "top_colour2")


def near_twin(person: Person, rng: np.random.Generator) -> Person:
    """The same person but for one detail of what ``TWIN_DETAILS`` lists."""
    details = [d for d in TWIN_DETAILS if _can_change(person, d)]
    detail = str(rng.choice(details))
    changed: dict[str, Any]
    if detail in ("bottom_colour", "shoes", "top_colour2"):
        old = getattr(person, detail)
        changed = {detail: _cloth(rng, but=(old, person.top_colour))}
    elif detail == "hair":
        changed = {"hair": str(rng.choice([h for h in HAIR if h != person.hair]))}
    elif detail == "bag":
        kind = "shoulder_bag" if person.shoulder_bag else "backpack"
        had = getattr(person, kind)
        drop = had is not None and rng.random() < 0.4
        changed = {kind: None if drop else _cloth(rng, but=(had, person.top_colour))}
    elif detail == "hat":
        changed = {"hat": _cloth(rng, but=(person.hat,))}
    else:
        kind = "logo" if person.logo else "print_"
        old_emblem, new_emblem = getattr(person, kind), _emblem(rng, person.top_colour)
        while new_emblem[0] == old_emblem[0] or new_emblem[1] == old_emblem[1]:
            new_emblem = _emblem(rng, person.top_colour)
        changed = {kind: new_emblem}
    return dataclasses.replace(person, **changed)


def _can_change(person: Person, detail: str) -> bool:
    """Whether changing the detail would show in a picture."""
    if detail == "bottom_colour":
        return person.top != "dress"
    if detail == "hair":
        return person.hairstyle in ("long", "bun")
    if detail == "emblem":
        return person.logo is not None or person.print_ is not None
    if detail == "top_colour2":
        return person.pattern in ("hoops", "block") or person.top in ("jacket", "coat")
    return True


def make_people(count: int, seed: int, twin_share: float = 0.4) -> list[Person]:
    """``count`` distinct identities; about ``twin_share`` of them in groups of 2 or 3 near twins.

    The members of a group follow one another in the list.
    """
    rng = np.random.default_rng(seed)
    people: list[Person] = []
    while len(people) < count:
        group = [random_person(rng)]
        # A group counts 2.5 people on average, a single counts 1.
        if rng.random() < twin_share / (2.5 - 1.5 * twin_share):
            group += [near_twin(group[0], rng) for _ in range(int(rng.integers(1, 3)))]
        people += [p for i, p in enumerate(group) if p not in people and p not in group[:i]]
    return people[:count]
