"""The harness's half of the protocol, fed with hostile bytes; needs no box."""

import json
import marshal
import struct
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plateau_bench.sandbox import Output, SandboxError, SandboxSpec, Status, open_backend
from plateau_bench.sandbox.ensure import MANAGERS, install_command
from plateau_bench.sandbox.guest.core import FRAME, VERDICTS, as_json, seccomp_filter
from plateau_bench.sandbox.guest.programs import MAX_NESTING, NotPlain, encode
from plateau_bench.sandbox.host.channel import Channel, guest_source, plain
from plateau_bench.sandbox.host.commands import GuestSandbox
from plateau_bench.sandbox.host.programs import judge

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), inner)
    ),
    max_leaves=20,
)

WORDS = st.sampled_from(["status", "completed", "outputs", "detail", "load", "t", "d"])
JSON = st.recursive(
    st.none() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
    max_leaves=12,
)


def answer(*outputs: object) -> bytes:
    return json.dumps({"status": "completed", "outputs": outputs}).encode()


@given(PLAIN)
def test_plain_data_comes_back_exactly(value: object) -> None:
    result = judge("ended", 0, answer([encode(value, MAX_NESTING, [10_000])]), 1)
    assert repr(result.outputs) == repr((Output(value=value),))


class Liar(int):
    pass


@given(PLAIN)
def test_no_impostor_is_encoded(value: object) -> None:
    for impostor in (Liar(1), {1}, b"x", object()):
        with pytest.raises(NotPlain):
            encode([value, impostor], MAX_NESTING, [10_000])


@given(
    st.sampled_from(VERDICTS),
    st.integers(0, 2**32 - 1),
    st.binary() | JSON.map(lambda v: json.dumps(v).encode()),
)
@example("ended", 0, b"[" * 100_000)
@example("ended", 0, answer([{"d": [[{}, 1]]}]))
@example("ended", 0, answer([{"d": [[[1], 1]]}]))
@example("ended", 0, answer([{"t": 1}]))
@example("ended", 0, answer([1, 2]))
@example("ended", 0, b'{"status": "completed", "outputs": [[' + b"9" * 100_000 + b"]]}")
@example("ended", 0, b'{"status": "load"}')
@example("ended", 0, b"[]")
def test_hostile_answers_never_raise(verdict: str, status: int, data: bytes) -> None:
    result = judge(verdict, status, data, 1)
    assert (result.status is Status.COMPLETED) == (result.outputs is not None)
    assert len(result.detail) <= 200


def test_signals_are_told_apart() -> None:
    endings = {
        27: Status.TIME_LIMIT,
        24: Status.TIME_LIMIT,
        9: Status.CRASHED,
        11: Status.CRASHED,
        256: Status.CRASHED,
    }
    assert {status: judge("ended", status, answer([1]), 1).status for status in endings} == endings


HEADER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(HEADER)
@example({"a/b.py": [1, 2.5, None, True, (False, 'x"'), "back\\slash", "\ud800", "\x7f"]})
def test_the_guest_s_own_json_is_json(value: object) -> None:
    assert repr(json.loads(as_json(value))) == repr(json.loads(json.dumps(value)))


def test_what_is_sent_to_the_guest_is_of_exact_types() -> None:
    found = marshal.loads(plain({"timeout": Seconds(1.5), "argv": ("a", Status.COMPLETED)}))
    assert repr(found) == repr({"timeout": 1.5, "argv": ["a", "completed"]})


class Seconds(float):
    pass


def test_the_guest_starts_without_what_it_can_do_without() -> None:
    """Their import is most of what the start of a box would cost."""
    script = "import marshal, sys\nfor name, text in marshal.loads(sys.stdin.buffer.read()):\n"
    script += " sys.modules[name] = m = type(sys)(name); exec(text, m.__dict__)\nprint(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(command, input=guest_source("files+commands"), capture_output=True, check=True)
    heavy = {"re", "enum", "json", "ctypes", "signal", "typing", "contextlib", "collections", "functools"}
    assert not heavy & set(done.stdout.decode().split())


class Recorded:
    """A stream whose other end says what it is told to say."""

    def __init__(self, *answers: tuple[object, bytes]) -> None:
        self.data = b""
        for header, body in answers:
            head = header if isinstance(header, bytes) else json.dumps(header).encode()
            self.data += struct.pack(FRAME, len(head), len(body)) + head + body

    def recv(self, size: int) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        return part

    def sendall(self, data: bytes) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def close(self) -> None: ...


def box(*answers: tuple[object, bytes]) -> GuestSandbox:
    return GuestSandbox(SandboxSpec(), Channel(Recorded(*answers), lambda: None))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "", ".", "a//b", "a/./b", "a\0b", 7])
def test_a_diff_cannot_leave_the_workspace(path: object) -> None:
    with pytest.raises(SandboxError):
        box(({"written": [[path, 1]], "deleted": [], "refused": []}, b"x")).diff({})
    if isinstance(path, str):
        with pytest.raises(SandboxError):
            box(({}, json.dumps({path: "0"}).encode())).snapshot()


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"not json", b""),
        ([], b""),
        ({}, b""),
        ({"out": 0, "exit": "x", "duration": 0, "timed_out": False, "truncated": False}, b""),
        (b"[" * 100_000, b""),
    ],
)
def test_a_malformed_answer_is_a_dead_box(header: object, body: bytes) -> None:
    broken = box((header, body))
    with pytest.raises(SandboxError):
        broken.run("true")
    with pytest.raises(SandboxError, match="closed"):
        broken.run("true")


@given(st.binary(max_size=200))
def test_a_box_that_babbles_is_a_dead_box(data: bytes) -> None:
    babbling = box()
    babbling._channel._stream.data = data  # type: ignore[attr-defined]
    with pytest.raises(SandboxError):
        babbling.snapshot()


def test_unknown_backend_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="choices: auto, bubblewrap, docker"):
        open_backend("podman")


def test_install_line_follows_the_package_manager() -> None:
    assert install_command([]) is None
    for name in MANAGERS:
        line = install_command([name])
        assert line is not None
        assert line.startswith(name)
        assert "bubblewrap" in line


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("program", [True, False])
def test_filter_jumps_stay_inside(machine: str, program: bool) -> None:
    code = seccomp_filter(machine, program)
    assert code is not None
    lines = list(struct.iter_unpack("=HBBI", code))
    for i, (kind, yes, no, _) in enumerate(lines):
        if kind & 7 == 5:  # a conditional jump
            assert i + 1 + max(yes, no) < len(lines)
    assert lines[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert seccomp_filter("riscv64", program) is None
