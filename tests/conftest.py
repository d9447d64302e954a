"""A busy machine is no defect: generated examples have no time limit of their own."""

from hypothesis import settings

settings.register_profile("plateau", deadline=None)
settings.load_profile("plateau")
