"""A ProgramBox without a box: for programs that this project itself wrote, in tests only."""

import copy
from collections.abc import Sequence

from plateau_bench.sandbox.base import Output, Program, ProgramResult, SandboxError, Status


class TrustedBox:
    """Runs programs in this process. `fail_first` runs raise SandboxError, as a dying box would."""

    def __init__(self, fail_first: int = 0) -> None:
        self.failures_left = fail_first
        self.programs_run = 0
        self.closed = False

    def run(self, programs: Sequence[Program]) -> list[ProgramResult]:
        if self.failures_left:
            self.failures_left -= 1
            raise SandboxError("the box died")
        self.programs_run += len(programs)
        return [_run(program) for program in programs]

    def close(self) -> None:
        self.closed = True


def _run(program: Program) -> ProgramResult:
    namespace: dict = {}
    try:
        exec(program.source, namespace)
        function = namespace[program.entry_point]
    except Exception as error:
        return ProgramResult(status=Status.LOAD_ERROR, detail=repr(error)[:200])
    return ProgramResult(
        status=Status.COMPLETED, outputs=tuple(_call(function, args) for args in program.calls)
    )


def _call(function, args) -> Output:  # type: ignore[no-untyped-def]
    try:
        return Output(value=function(*copy.deepcopy(list(args))))
    except Exception as error:
        return Output(error=type(error).__name__)
