"""Harbor task folders in Docker: all spellings of the schema are proved, and planted faults are found."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plateau_bench.sandbox.backends.docker import DockerBackend
from plateau_bench.sandbox.base import SandboxError
from plateau_bench.tasks.cli import app
from plateau_bench.tasks.formats.harbor import FolderSuite
from plateau_bench.tasks.quality.proof import read_log
from plateau_bench.tasks.quality.quarantine import read_quarantine
from tests.tasks.harbor_set import BASE, FETCH, REWARD, put, task, write_set

pytestmark = pytest.mark.docker


class Says42(BaseHTTPRequestHandler):
    """And by turns 0 and 1 to who asks for a coin."""

    coin = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path == "/coin":
            Says42.coin = 1 - Says42.coin
        self.wfile.write(b"42" if self.path == "/" else str(Says42.coin).encode())

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    web = HTTPServer(("127.0.0.2", 0), Says42)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"127.0.0.2:{web.server_port}"
    web.shutdown()
    web.server_close()


@pytest.fixture(scope="module")
def docker() -> DockerBackend:
    try:
        found = DockerBackend()
        found.open().close()
    except SandboxError as error:
        pytest.skip(str(error))
    return found


def built(suite: Path, docker: DockerBackend) -> list[str]:
    from plateau_bench.tasks.formats.building import to_build

    done = CliRunner().invoke(app, ["build", str(suite)])
    assert done.exit_code == 0, done.output
    return list(to_build(FolderSuite(suite, ()).tasks))


def validated(suite: Path, *more: str) -> tuple[int, dict[str, str], str]:
    """(exit status, folder -> finding, what was said)."""
    done = CliRunner().invoke(app, ["validate", str(suite), "--sandbox", "docker", "--workers", "2", *more])
    log = read_log(suite / "quarantine.log.jsonl", 1)
    return done.exit_code, {f.task.rpartition("/")[2]: f.kind.value for f in log.values()}, done.output


def test_every_spelling_is_proved(tmp_path: Path, server: str, docker: DockerBackend) -> None:
    names = write_set(tmp_path / "suite", server)
    images = built(tmp_path / "suite", docker)
    try:
        status, found, said = validated(tmp_path / "suite", "--repeats", "1")
        assert found == dict.fromkeys(names, "sound"), said
        assert status == 0
        assert len(images) == 1
    finally:
        for image in images:
            docker.api.remove_image(image)


def test_planted_faults_are_found(tmp_path: Path, server: str, docker: DockerBackend) -> None:
    suite, plain = tmp_path / "suite", f"[environment]\n{BASE}"
    task(suite / "sound", plain)
    task(suite / "broken", plain, solve="exit 3\n")
    task(suite / "weak", plain, REWARD.format("true"))
    reached = f'[verifier]\nnetwork_mode = "allowlist"\nallowed_hosts = ["{server}"]\n'
    coin = f'[ -e answer.txt ] && [ "$({FETCH} http://{server}/coin)" = 1 ]'
    task(suite / "flaky", plain + reached, REWARD.format(coin))
    secret = "".join(f'[ "$(sed -n {i}p answer.txt)" = {i * i} ] || exit 1\n' for i in range(1, 9))
    squares = "for i in 1 2 3 4 5 6 7 8; do echo $((i * i)); done > answer.txt\n"
    task(suite / "readable", "", REWARD.format("sh /tests/check.sh"), squares, **{
        "tests/check.sh": secret,
        "environment/Dockerfile": "FROM plateau-base\nCOPY notes /opt/notes/\nWORKDIR /app\n",
        "environment/notes/old.txt": "# once\n" + secret,
    })  # fmt: skip
    put(
        suite / "bare", **{"task.toml": plain, "instruction.md": "?", "tests/test.sh": REWARD.format("false")}
    )
    images = built(suite, docker)
    try:
        status, found, said = validated(suite, "--repeats", "2")
        kinds = {name: name for name in ("sound", "broken", "weak", "flaky", "readable")}
        assert found == kinds | {"bare": "unproven"}, said
        assert status == 1
        assert set(read_quarantine(suite / "quarantine.json")) == {"broken", "weak", "flaky", "readable"}
        assert "/opt/notes/old.txt in the box holds what tests/check.sh says" in said
    finally:
        for image in images:
            docker.api.remove_image(image)


def test_functions_in_packages_are_proved(tmp_path: Path, docker: DockerBackend) -> None:
    arguments = ["validate", "repo-katas", "--tasks", "3", "--repeats", "2", "--sandbox", "docker"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "quarantine.json")])
    assert done.exit_code == 0, done.output
    assert "6 sound" in done.output
    assert read_quarantine(tmp_path / "quarantine.json") == {}
