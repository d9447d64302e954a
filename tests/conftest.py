"""A busy machine is no defect: generated examples have no time limit. CI draws the same ones each time."""

import os

from hypothesis import settings

settings.register_profile("plateau", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("plateau")
