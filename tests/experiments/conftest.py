"""The boxes' tests run on both backends, like those of the sandbox."""

from tests.sandbox.conftest import backend

__all__ = ["backend"]
