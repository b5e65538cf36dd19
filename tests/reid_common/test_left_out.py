"""A result from nothing, or from far fewer items than were given, is an error."""

from __future__ import annotations

from collections import Counter

import pytest
from reid_common.errors import UserError
from reid_common.left_out import check_left_out, counted


def test_reasons_are_counted() -> None:
    reasons = ["empty file"] * 2 + ["no image"] * 4
    with pytest.raises(UserError) as error:
        check_left_out(10, reasons, "images", 0.5, "Copy them again")
    text = "6 of the 10 images are left out, more than the share of 0.5 that may be"
    assert str(error.value) == f"{text} (4 no image; 2 empty file). Copy them again"
    check_left_out(10, reasons, "images", 0.6)
    check_left_out(12, reasons, "images")
    check_left_out(10, {"empty file": 5}, "images")


def test_nothing_is_never_enough() -> None:
    with pytest.raises(UserError, match=r"^all of the 3 images are left out \(3 empty file\)"):
        check_left_out(3, {"empty file": 3}, "images", 1.0)
    with pytest.raises(UserError, match=r"^there are no images"):
        check_left_out(0, (), "images", 1.0)


def test_of_many_reasons_the_first_are_named() -> None:
    with pytest.raises(UserError, match=r"1 reason e; 5 others\)"):
        check_left_out(10, [f"reason {letter}" for letter in "abcdefghij"], "images")


def test_reasons_that_differ_in_numbers_alone_are_one() -> None:
    reasons = ["truncated (66 bytes)", "truncated (7 bytes)", "empty file", "truncated (8 bytes)"]
    assert counted(Counter(reasons)) == "3 truncated (66 bytes); 1 empty file"
