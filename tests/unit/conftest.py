"""Properties are tested with the settings of `tests.support.properties`."""

from __future__ import annotations

import tests.support.properties  # noqa: F401
