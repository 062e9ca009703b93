"""Names of maps and programs as the kernel takes them."""

from __future__ import annotations

import pytest

from pyebpf.names import kernel_name, sanitize_name


@pytest.mark.parametrize(
    ("name", "removed", "replaced"),
    [
        ("test", "test", "test"),
        ("t-est", "test", "t_est"),
        ("t_est.2", "t_est.2", "t_est.2"),
        ("hörnchen", "hrnchen", "h_rnchen"),
        ("٣ ways/to\0", "waysto", "__ways_to_"),
        ("", "", ""),
    ],
)
def test_what_the_kernel_refuses_is_removed_or_replaced(name, removed, replaced):
    """Only letters and digits of ASCII, ``_`` and dots stay."""
    assert sanitize_name(name) == removed
    assert sanitize_name(name, "_") == replaced


def test_names_are_not_cut_until_the_kernel_is_given_them():
    """It keeps fifteen bytes."""
    name = "a rather long name of a map"
    assert sanitize_name(name, ".") == "a.rather.long.name.of.a.map"
    assert kernel_name(name) == b"a_rather_long_n"


def test_a_replacement_must_be_allowed_itself():
    """Otherwise the result would be refused like the name."""
    for replacement in ("-", "ö", "_ "):
        with pytest.raises(ValueError, match="does not belong in a name either"):
            sanitize_name("x", replacement)
