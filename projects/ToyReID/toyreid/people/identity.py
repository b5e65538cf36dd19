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

# Colour, and how often it is worn.
_CLOTH: dict[str, tuple[Colour, float]] = {
    "black": ((38, 38, 42), 0.18),
    "grey": ((120, 122, 126), 0.13),
    "white": ((226, 226, 222), 0.13),
    "navy": ((42, 52, 96), 0.11),
    "blue": ((58, 108, 186), 0.11),
    "red": ((184, 46, 46), 0.09),
    "green": ((58, 122, 72), 0.07),
    "beige": ((190, 166, 126), 0.06),
    "brown": ((106, 72, 48), 0.05),
    "mustard": ((212, 168, 48), 0.04),
    "purple": ((120, 66, 134), 0.03),
}
CLOTH = {name: colour for name, (colour, _) in _CLOTH.items()}
SKIN: tuple[Colour, ...] = ((240, 204, 178), (218, 172, 138), (166, 116, 84), (104, 70, 52))
HAIR: dict[str, Colour] = {
    "black": (30, 26, 26),
    "brown": (84, 54, 36),
    "blond": (206, 172, 106),
    "grey": (164, 162, 160),
    "red": (150, 66, 34),
}
EMBLEMS = ("disc", "bar", "square", "triangle", "cross", "ring")
# What there is of each kind, and how often.
TOPS = {"tshirt": 0.30, "longsleeve": 0.24, "jacket": 0.24, "coat": 0.12, "dress": 0.10}
BOTTOMS = {"trousers": 0.66, "shorts": 0.2, "skirt": 0.14}
PATTERNS = {"plain": 0.5, "hoops": 0.15, "stripes": 0.1, "checks": 0.1, "block": 0.15}
HAIRSTYLES = {"bald": 0.08, "short": 0.5, "long": 0.28, "bun": 0.14}
HAIR_SHARES = dict(zip(HAIR, (0.36, 0.28, 0.16, 0.12, 0.08), strict=True))
BAGS = {"none": 0.45, "backpack": 0.3, "shoulder_bag": 0.25}


@dataclass(frozen=True)
class Person:
    """One identity. Colours are names of ``CLOTH`` or ``HAIR``; None means: has none."""

    height: float  # relative to the average, about 0.88..1.08
    width: float  # likewise, about 0.82..1.25
    skin: int  # index into SKIN
    hairstyle: str
    hair: str
    top: str
    top_colour: str
    top_colour2: str  # of the pattern; the shirt under an open jacket or coat
    pattern: str
    bottom: str
    bottom_colour: str
    shoes: str
    logo: tuple[str, str] | None = None  # (emblem, colour) on the chest
    print_: tuple[str, str] | None = None  # (emblem, colour) between the shoulders
    backpack: str | None = None
    shoulder_bag: str | None = None  # at the left hip
    hat: str | None = None

    def differences(self, other: Person) -> list[str]:
        """Names of the attributes in which the two differ."""
        mine, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return [name for name in mine if mine[name] != others[name]]


def _one_of(shares: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def _cloth(rng: np.random.Generator, but: tuple[str | None, ...] = ()) -> str:
    """A cloth colour, none of those in ``but``."""
    shares = np.array([0.0 if name in but else share for name, (_, share) in _CLOTH.items()])
    return str(rng.choice(list(_CLOTH), p=shares / shares.sum()))


def _emblem(rng: np.random.Generator, ground: str) -> tuple[str, str]:
    """An emblem in a colour that stands out from ``ground``."""
    light = sum(CLOTH[ground]) > 300
    dark_inks, light_inks = ("black", "navy", "red", "purple"), ("white", "mustard", "red", "blue")
    inks = [c for c in (dark_inks if light else light_inks) if c != ground]
    return str(rng.choice(EMBLEMS)), str(rng.choice(inks))


def random_person(rng: np.random.Generator) -> Person:
    """Draw one identity."""
    top = _one_of(TOPS, rng)
    colour = _cloth(rng)
    pattern = _one_of(PATTERNS, rng) if top in ("tshirt", "longsleeve", "dress") else "plain"
    second = _cloth(rng, but=(colour,))
    has_logo = top in ("tshirt", "longsleeve") and pattern == "plain" and rng.random() < 0.55
    has_print = top in ("tshirt", "longsleeve", "jacket") and rng.random() < 0.4
    bag = _one_of(BAGS, rng)
    return Person(
        height=round(float(rng.uniform(0.88, 1.08)), 3),
        width=round(float(rng.uniform(0.84, 1.22)), 3),
        skin=int(rng.choice(len(SKIN), p=(0.35, 0.3, 0.2, 0.15))),
        hairstyle=_one_of(HAIRSTYLES, rng),
        hair=_one_of(HAIR_SHARES, rng),
        top=top,
        top_colour=colour,
        top_colour2=second,
        pattern=pattern,
        bottom=_one_of(BOTTOMS, rng),
        bottom_colour=_cloth(rng, but=(colour,) if rng.random() < 0.7 else ()),
        shoes=_cloth(rng),
        logo=_emblem(rng, colour) if has_logo else None,
        print_=_emblem(rng, colour) if has_print else None,
        backpack=_cloth(rng, but=(colour,)) if bag == "backpack" else None,
        shoulder_bag=_cloth(rng, but=(colour,)) if bag == "shoulder_bag" else None,
        hat=_cloth(rng) if rng.random() < 0.22 else None,
    )


def near_twin(person: Person, rng: np.random.Generator) -> Person:
    """The same person but for one detail that shows in a picture."""
    bag = "shoulder_bag" if person.shoulder_bag else "backpack"
    emblem = "logo" if person.logo else "print_"
    shows = {
        "bottom_colour": person.top != "dress",
        "shoes": True,
        bag: True,
        "hat": True,
        "hair": person.hairstyle in ("long", "bun"),
        emblem: getattr(person, emblem) is not None,
        "top_colour2": person.pattern in ("hoops", "block") or person.top in ("jacket", "coat"),
    }
    detail = str(rng.choice([name for name, visible in shows.items() if visible]))
    old: Any = getattr(person, detail)
    new: Any
    if detail == emblem:
        new = _emblem(rng, person.top_colour)
        while new[0] == old[0] or new[1] == old[1]:
            new = _emblem(rng, person.top_colour)
    elif detail == "hair":
        new = str(rng.choice([hair for hair in HAIR if hair != old]))
    elif detail == "hat":
        new = _cloth(rng, but=(old,))
    else:
        drop = detail == bag and old is not None and rng.random() < 0.4
        new = None if drop else _cloth(rng, but=(old, person.top_colour))
    return dataclasses.replace(person, **{detail: new})


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
