"""Parameters of arms: the three shapes that a round reads itself; every strategy adds what it needs.

A strategy's parameters are a frozen dataclass. A field is a parameter, its annotation says what values are
allowed, its docstring says what it does, and its default holds where a config leaves it out.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0, le=5)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """No parameters: for a strategy that never trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained(Params):
    """For every strategy that trains."""

    tampered: bool = False
    """Ablation: also learn from attempts in which tampering with the grading was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual(Trained):
    """For a strategy that trains and practises at one temperature."""

    temperature: Temperature | None = None
    """Practice temperature from round 1 on, in place of `practice.temperature`; all arms share round 0."""


def _different(temperatures: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(temperatures)) < len(temperatures) or not temperatures:
        raise ValueError("different ones, at least one")
    return temperatures


@dataclass(frozen=True, kw_only=True, slots=True)
class Tempered(Trained):
    """For a strategy whose practice tries several temperatures each round."""

    temperatures: Annotated[tuple[Temperature, ...], AfterValidator(_different)] = (0.6, 0.8, 1.0, 1.2)
    """Practice temperatures to choose from."""


def names(kind: type[Params]) -> list[str]:
    """The parameters of `kind`: its own first, then those that it has from the shapes above."""
    return [name for one in kind.__mro__ for name in inspect.get_annotations(one)]


def own(kind: type[Params]) -> list[str]:
    """The parameters of `kind` that are not those of every strategy."""
    common = {*names(Usual)}
    return [name for name in names(kind) if name not in common]


def plain(params: Params) -> dict[str, Any]:
    """The parameters as JSON has them."""
    values = {name: getattr(params, name) for name in names(type(params))}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def docs(kind: type[Params]) -> dict[str, str]:
    """What each parameter does: the text below its field."""
    return {name: text for one in kind.__mro__[-2::-1] for name, text in _below_fields(one)}


def _below_fields(kind: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
