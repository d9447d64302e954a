"""A metric as one object: its name, how it is computed, how it is read, and where a report shows it.

From these objects come the values of a round, the report's panels, the tables in docs/metrics.md and the list
of measures that share the graded attempts. A package adds one by an entry point in `plateau_bench.metrics`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from plateau_bench.results.metrics.estimators import Columns, Floats, Values
from plateau_bench.results.metrics.pass_table import PassTable, pass_table
from plateau_bench.results.records import Attempt, Estimate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from plateau_bench.results.metrics.drift_values import DriftSamples, Reference

RATE = (0.0, 1.0)
UNBOUNDED = (-math.inf, math.inf)


class Population(StrEnum):
    """What a metric is read on; docs/metrics.md says what each of them is."""

    GRADED = "graded attempts"
    CORRECT = "correct attempts"
    VARIANTS = "attempts at variants"
    FREE = "free samples"
    BANK = "bank"
    HUMAN = "human"
    TRAINING = "training set"


@dataclass(frozen=True, kw_only=True)
class RoundData:
    """What a metric may be computed from: everything that is known of one checkpoint in one round."""

    attempts: Sequence[Attempt]
    """The graded attempts at the held-out tasks."""
    base_attempts: Sequence[Attempt]
    """Those of round 0, at the same tasks."""
    seed: int
    """The training seed; it also seeds the resampling of every interval."""
    samples: "DriftSamples | None" = None
    """Samples on which drift and wording are measured; None if the agent's tokens are unknown."""
    reference: "Reference | None" = None
    """What all rounds of the seed are compared with."""
    models: Mapping[str, "PreTrainedModel"] = field(default_factory=dict)
    """'now', 'base' and 'previous'; empty where what improves has no weights."""

    @cached_property
    def table(self) -> PassTable:
        """The attempts summed per task; a metric's values per task are in the order of `table.task_ids`."""
        return pass_table(self.attempts)

    @cached_property
    def base_table(self) -> PassTable:
        """The attempts of round 0 summed per task."""
        return pass_table(self.base_attempts)


class Family(NamedTuple):
    """Several metrics that one function computes at once, and their values per task where they are kept."""

    values: Values
    per_task: Columns


Result = Estimate | Floats | Values | Family | None
"""An estimate; one value per task (NaN for none), whose mean is then taken; values by name, with values per
task or without; None for no value."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve over rounds in the report."""

    group: str
    """Key of a group in `report.panels`; an unknown one makes a group of that title at the end."""
    title: str
    reading: str
    """One sentence: how to read it and which direction is good news."""
    _: KW_ONLY
    metric: str = ""
    """Which of the names that the metric's pattern stands for; empty for a metric with one name."""
    percent: bool = False
    min_span: float = 0.0
    """Smallest height of the y axis, so that noise is not blown up into a trend."""
    reference: float | None = None
    """A horizontal line with a meaning of its own, such as "no change"."""
    hide_zero: bool = False
    """Leave the drawing out, and say so, where the value is 0 throughout: nothing happened."""


rate_panel = partial(Panel, percent=True, min_span=0.1)
"""A panel whose axis is in per cent and spans at least ten points."""


@dataclass(frozen=True)
class Metric:
    """One number that a round may report.

    >>> Metric("lines", "lines of a program, mean over tasks", function=lines_per_task, unit="lines",
    ...        good="unclear", population=Population.GRADED)
    """

    name: str
    """Its name in a round's values. Angle brackets stand for a part that varies: `pass@<k>` for any text
    without a slash, `solved/<both, neither>` for one of these two."""
    definition: str
    """One or two sentences, without a full stop at the end."""
    _: KW_ONLY
    function: Callable[[RoundData], Result] | None
    """None for what is not computed from a round's data but recorded with it. Metrics that share a function
    are computed by one call."""
    unit: str
    good: Literal["up", "down", "steady", "unclear"]
    """The direction of good news."""
    population: Population
    source: str = ""
    bounds: tuple[float, float] = UNBOUNDED
    """The least and the greatest value there can be."""
    panels: tuple[Panel, ...] = ()

    @property
    def shares_attempts(self) -> bool:
        """Whether it is read on the same attempts as pass@1, so that luck in one is luck in the other."""
        return self.population in (Population.GRADED, Population.CORRECT, Population.VARIANTS)

    def stands_for(self, name: str) -> bool:
        """Whether `name` is this metric's name, or one of those that its pattern stands for."""
        return name == self.name or re.fullmatch(self._pattern, name) is not None

    @cached_property
    def _pattern(self) -> str:
        parts = re.split(r"<([^>]*)>", self.name)  # fixed, varying, fixed, ...
        parts[::2] = map(re.escape, parts[::2])
        parts[1::2] = [f"({part.replace(', ', '|')})" if "," in part else "[^/]+" for part in parts[1::2]]
        return "".join(parts)

    def compute(self, data: RoundData) -> Family:
        """Its values in one round. Raises ValueError for values per task that do not fit the tasks."""
        assert self.function is not None, self.name
        found = self.function(data)
        if isinstance(found, Family):
            return found
        if isinstance(found, dict):
            return Family(found, {})
        if found is None or isinstance(found, Estimate):
            return Family({self.name: found}, {})
        column, tasks = np.asarray(found, dtype=np.float64), data.table.task_ids
        if column.shape != (len(tasks),):
            raise ValueError(f"metric {self.name}: {column.shape} values for {len(tasks)} tasks")
        mean = data.table.mean(column, data.seed, self.bounds)
        return Family({self.name: mean}, {self.name: column})
