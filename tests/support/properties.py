"""How hypothesis runs here: machines differ in speed, so no example has a deadline by default.

Import it before tests are collected; `tests/kernel` does not, since hypothesis is slow to import.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")
