"""The guide's page of features and kernels is what runs of the tests have said."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.vm import table

ROOT = pathlib.Path(__file__).parents[1]


def test_the_page_is_what_the_runs_say():
    """Nobody has changed it by hand, and every feature of the table is there."""
    kept = json.loads(table.KEPT.read_text("utf-8"))
    assert table.PAGE.read_text("utf-8") == table.page(kept)
    features = {feature for tests in table.FEATURES.values() for feature in tests}
    assert [each.keys() for each in kept.values()] == [features] * len(kept)


def test_features_name_tests_that_there_are():
    """Each by its file and function."""
    for tests in table.FEATURES.values():
        for names in tests.values():
            for name in names:
                path, _, function = name.partition("::")
                text = (ROOT / "tests" / "kernel" / path).read_text("utf-8")
                assert f"def {function.partition('[')[0]}(" in text, name


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("yes", "yes"),
        ("x not supported by this kernel (since Linux 6.13)", "no"),
        ("x not supported by this kernel (since Linux 5.8): CONFIG_X is not set", "off"),
        ("a policy of this kernel refuses it", "off"),
    ],
)
def test_a_kernel_that_is_too_old_is_told_from_one_without_it(outcome, said):
    """By the version that brought the feature."""
    assert table.cell("6.12", outcome) == said
