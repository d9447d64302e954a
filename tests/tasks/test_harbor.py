"""The Harbor task folder: what is read, what is refused and how, and katas written as folders."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plateau_bench.sandbox.base import BASE_IMAGE, Diff
from plateau_bench.tasks.base import FolderTests, Outcome, Split
from plateau_bench.tasks.files import write_tree
from plateau_bench.tasks.formats.harbor import FolderSuite, read_folder
from plateau_bench.tasks.grading.folders import grade_folder
from plateau_bench.tasks.loading import load_suite
from plateau_bench.tasks.suite import split_of
from plateau_bench.tasks.suites import katas
from tests.tasks.harbor_set import write_set
from tests.tasks.kata_folder import write_folder
from tests.tasks.local_backend import LocalBackend, LocalSandbox

TOML = """\
schema_version = "1.1"
source = "somewhere"

[task]
name = "org/hello"

[metadata]
difficulty = "easy"
repo = "org/repo"
stratum = "tail"

[verifier]
timeout_sec = 30

[agent]
timeout_sec = 900.0

[environment]
build_timeout_sec = 600.0
docker_image = "debian:12"
cpus = 2
memory_mb = 1024
storage_mb = 512
network_mode = "allowlist"
allowed_hosts = ["example.org", "*.example.com"]
gpus = 0

[environment.env]
GREETING = "hi"
"""


SEPARATE = "[verifier]\nenvironment_mode = 'separate'\n"


def make(folder: Path, toml: str = TOML, **files: str) -> Path:
    contents = {"task.toml": toml, "instruction.md": "Say hello.\n", "tests/test.sh": "echo 1\n"} | files
    write_tree(folder, {name: content.encode() for name, content in contents.items()})
    return folder


def complaint_about(folder: Path) -> str | None:
    """What the reader says is wrong; anything but a ValueError is a crash."""
    try:
        read_folder(folder)
    except ValueError as error:
        return str(error)
    return None


def test_a_full_folder_is_read(tmp_path: Path) -> None:
    task = read_folder(make(tmp_path / "hello", **{"solution/solve.sh": "true", "environment/a/b.txt": "b"}))
    assert (task.id, task.instruction, task.cluster, task.stratum) == (
        "org/hello",
        "Say hello.",
        "org/repo",
        "tail",
    )
    assert task.split is split_of("org/repo")
    assert isinstance(task.tests, FolderTests)
    assert task.tests.timeout_s == 30
    assert task.tests.solution_dir == tmp_path / "hello" / "solution"
    assert task.tests.files == {"a/b.txt": b"b"}
    box = task.box
    assert (box.image, box.cpus, box.memory_mb, box.disk_mb, box.network) == (
        "debian:12",
        2.0,
        1024,
        512,
        ("example.org", "*.example.com"),
    )
    assert box.env == {"GREETING": "hi"}
    assert task.tags["unknown_keys"] == "agent.timeout_sec, environment.build_timeout_sec"


def test_a_bare_folder_gets_defaults(tmp_path: Path) -> None:
    task = read_folder(make(tmp_path / "bare", ""))
    assert (task.id, task.cluster, task.box.image, task.box.network) == ("bare", "bare", BASE_IMAGE, ())
    assert task.tags.keys() == {"suite", "answer_file", "tests_sha256"}


@pytest.mark.parametrize(
    ("wish", "given", "hosts"),
    [
        ("network_mode = 'public'", ["example.org"], ("example.org",)),
        ("allow_internet = true", ["*"], ("*",)),
        ("allow_internet = true", [], ()),
        ("network_mode = 'no-network'\nallow_internet = true", ["*"], ()),
        ("allow_internet = false", ["*"], ()),
        ("network_mode = 'allowlist'\nallowed_hosts = ['a.org']", ["*"], ("a.org",)),
    ],
)
def test_the_user_says_what_public_means(
    tmp_path: Path, wish: str, given: list[str], hosts: tuple[str, ...]
) -> None:
    """And nothing else: a task that asks for less gets what it asks for."""
    assert read_folder(make(tmp_path, f"[environment]\n{wish}\n"), network=given).box.network == hosts


def test_old_spellings_are_read(tmp_path: Path) -> None:
    task = read_folder(make(tmp_path, 'version = "1.0"\n[environment]\nmemory = "2G"\nstorage = "512M"\n'))
    assert (task.box.memory_mb, task.box.disk_mb) == (2048, 512)
    assert "unknown_keys" not in task.tags


def test_a_dockerfile_without_image_has_to_be_built(tmp_path: Path) -> None:
    recipe = {"environment/Dockerfile": "FROM debian:12\nWORKDIR /app\n", "environment/data.txt": "x"}
    task = read_folder(make(tmp_path, "", **recipe))
    assert task.box.image.startswith("plateau-task:")
    assert task.box.workdir == "/app"
    assert task.tags["dockerfile"] == str(tmp_path / "environment")
    assert isinstance(task.tests, FolderTests)
    assert task.tests.files == {}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[environment\n", r"task\.toml: Expected"),
        (
            "[environment]\ncpus = 'two'",
            r"task\.toml: environment\.cpus: expected a number, got str 'two'",
        ),
        ("[environment]\ncpus = true", r"environment\.cpus: expected a number, got bool True"),
        ("[verifier]\ntimeout_sec = 0", r"verifier\.timeout_sec: above 0"),
        ("[verifier]\ntimeout_sec = nan", r"verifier\.timeout_sec: expected a finite number"),
        (
            "[environment]\nmemory_mb = '2G'",
            r"environment\.memory_mb: expected a whole number, got str '2G'",
        ),
        ("[environment]\nmemory = 'lots'", r"environment\.memory: must be a size such as '2G', not 'lots'"),
        (
            "[environment]\nallow_internet = 'no'",
            r"environment\.allow_internet: expected true or false, got str 'no'",
        ),
        ("[environment]\nnetwork_mode = 'some'", r"environment\.network_mode: expected 'public'"),
        ("[environment]\nnetwork_mode = 'public'", r"network_mode asks for all of the internet.*named"),
        ("[environment]\nallow_internet = true", r"environment\.allow_internet asks for all"),
        (
            "[environment]\nnetwork_mode = 'allowlist'",
            r"environment: allowed_hosts must be a list of hosts",
        ),
        (
            "[environment]\nnetwork_mode = 'allowlist'\nallowed_hosts = ['http://a']",
            r"task\.toml: environment\.allowed_hosts: network: 'http://a' is no host",
        ),
        ("[environment.env]\nA = 1", r"environment\.env\.A: expected a text, got int 1"),
        ("environment = 3", r"environment: expected keys and values, got int 3"),
        ("[metadata]\nsplit = 'test'", r"metadata\.split: expected 'train' or 'held_out', got str 'test'"),
        ("[metadata]\nworkdir = 'app'", r"metadata\.workdir: must be an absolute path below /"),
        ("a = " + "[" * 5_000, r"task\.toml: "),
        ("[environment]\ngpus = 1", r"task\.toml: environment\.gpus: boxes have no GPU"),
        ("[environment.tpu]\ntype = 'v4'", r"environment\.tpu: boxes have no TPU"),
        ("[[environment.mcp_servers]]\nname = 'x'", r"environment\.mcp_servers: agents bring their own"),
        ("[environment]\nskills_dir = '/s'", r"environment\.skills_dir: agents bring their own"),
        ("[environment]\nos = 'windows'", r"environment\.os: expected '' or 'linux', got str 'windows'"),
        ("[environment.env]\nA = '${HOME}'", r"environment\.env: A must have a value, for boxes get no var"),
        ("[verifier.env]\n'a=b' = 'x'", r"verifier\.env: a=b must be named by letters"),
        ("[environment]\nworkdir = '/logs'", r"environment\.workdir: must be somewhere else: /logs/verifier"),
        ("[metadata]\nworkdir = '//tests/a'", r"metadata\.workdir: must be somewhere else: /tests"),
        ("[environment]\nallowed_hosts = ['a.org']", r"environment: allowed_hosts must be absent unless"),
        (
            "[environment]\nnetwork_mode = 'allowlist'\nallowed_hosts = [1]",
            r"environment\.allowed_hosts\[0\]: expected a text, got int 1",
        ),
        ("[environment.healthcheck]\nretries = 1", r"missing key environment\.healthcheck\.command"),
        ("[verifier]\nenvironment_mode = 'both'", r"verifier\.environment_mode: expected 'shared' or 'sep"),
        (
            "[verifier]\nenvironment_mode = 'shared'\n[verifier.environment]\ncpus = 1",
            r"verifier: environment_mode must be 'separate'",
        ),
        (SEPARATE + "[[verifier.collect]]\ntimeout_sec = 1", r"missing key verifier\.collect\[0\]\.command"),
        (
            SEPARATE + "[[verifier.collect]]\ncommand = 'x'\nservice = 'db'",
            r"verifier\.collect\[0\]\.service: tasks have one container",
        ),
        (
            "artifacts = ['/tests/x']\n" + SEPARATE,
            r"artifacts: source must be a path in the agent's box, .*'/tests/x'",
        ),
        (
            "artifacts = ['../x']\n" + SEPARATE,
            r"artifacts: source must be a path in the agent's box, .*'\.\./x'",
        ),
        ("artifacts = [3]\n" + SEPARATE, r"artifacts\[0\]: expected keys and values, got int 3"),
        ("[[steps]]\nname = '../x'", r"steps\[0\]\.name: must be the name of a folder in steps/"),
        ("[[steps]]\nname = 'absent'", r"steps/absent: is no folder"),
        ("steps = 'one'", r"steps: expected a list, got str 'one'"),
        (
            "[[steps]]\nname = 'one'\n[steps.agent]\nnetwork_mode = 'public'",
            r"steps\[0\]: agent\.network_mode: a box keeps",
        ),
        ("[[steps]]\nname = 'one'\nmin_reward = 'x'", r"steps\[0\]\.min_reward: must be a number"),
        (
            "multi_step_reward_strategy = 'best'\n[[steps]]\nname = 'one'",
            r"multi_step_reward_strategy: expected 'mean' or 'final'",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, toml: str, message: str) -> None:
    step = {"steps/one/instruction.md": "x", "steps/one/tests/test.sh": "true"}
    with pytest.raises(ValueError, match=message):
        read_folder(make(tmp_path, toml, **step))


@pytest.mark.parametrize("missing", ["task.toml", "instruction.md", "tests/test.sh"])
def test_missing_files_are_named(tmp_path: Path, missing: str) -> None:
    (make(tmp_path) / missing).unlink()
    with pytest.raises(ValueError, match=missing.rpartition("/")[2] + ": is missing"):
        read_folder(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (make(tmp_path) / "tests" / "data").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="only regular files"):
        read_folder(tmp_path)


def test_the_digest_covers_what_can_change_a_verdict(tmp_path: Path) -> None:
    digests = {read_folder(make(tmp_path / "0")).digest}
    changes = (
        {"instruction.md": "Other."},
        {"tests/test.sh": "echo 2"},
        {"environment/x": ""},
        {"tests/x": ""},
    )
    for i, change in enumerate(changes, 1):
        digests.add(read_folder(make(tmp_path / f"{i}", **change)).digest)
    digests.add(read_folder(make(tmp_path / "9", TOML.replace("cpus = 2", "cpus = 3"))).digest)
    assert len(digests) == 6


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_toml_is_read_or_refused_with_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    folder = make(tmp_path)
    text = TOML
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        values = st.sampled_from(
            ["0", "-1", "1e999", "nan", '"x"', "[]", "{}", "true", "9" * 400, "1979-05-27"]
        )
        text = text[:start] + data.draw(st.text(max_size=6) | values) + text[stop:]
    (folder / "task.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    complaint = complaint_about(folder)
    assert complaint is None or str(folder) in complaint


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = (
    "cpus",
    "memory_mb",
    "memory",
    "docker_image",
    "env",
    "allow_internet",
    "network_mode",
    "allowed_hosts",
)


@given(VALUES, st.sampled_from(KEYS))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_at_a_known_key_is_read_or_refused(tmp_path: Path, value: object, key: str) -> None:
    def toml(item: object) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(toml, item)) + "]"
        if isinstance(item, str):
            return '"' + "".join(f"\\U{ord(char):08x}" for char in item) + '"'
        return {None: '""', True: "true", False: "false"}.get(item, repr(item))  # type: ignore[call-overload]

    folder = make(tmp_path, f"[environment]\n{key} = {toml(value)}\n")
    complaint = complaint_about(folder)
    assert complaint is None or "task.toml" in complaint
    if complaint is None:
        box = read_folder(folder).box
        assert 0 < box.cpus <= 1e9
        assert box.memory_mb > 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"environment/docker-compose.yaml": ""}, r"docker-compose\.yaml: tasks of several containers"),
        (
            {"environment/Dockerfile": "FROM x\nWORKDIR /logs/verifier\n"},
            r"Dockerfile: WORKDIR /logs/verifier",
        ),
        ({"trajectory.json": "{}"}, r"trajectory\.json: attempts always begin"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_folder(make(tmp_path, "", **files))


@pytest.mark.parametrize("name", ["tests", "solution", "environment", "steps/two"])
def test_folders_that_are_links_are_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "solve.sh").write_text("secret")
    write_set(tmp_path / "set", "a.org")
    place = tmp_path / "set" / ("s13-mean" if "/" in name else "s10")
    if (place / name).exists():
        shutil.rmtree(place / name)
    (place / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"only regular files|is no folder"):
        read_folder(place)


def test_all_spellings_are_read(tmp_path: Path) -> None:
    names = write_set(tmp_path, "a.org")
    tasks = dict(zip(names, FolderSuite(tmp_path).tasks, strict=True))
    old = tasks["s10"].box
    assert (old.memory_mb, old.disk_mb, old.network) == (256, 64, ())
    fetch, agent = tasks["s14-fetch"], tasks["s14-agent"]
    assert isinstance(fetch.tests, FolderTests)
    assert isinstance(agent.tests, FolderTests)
    assert (fetch.box.network, fetch.tests.network) == (("a.org",), ())
    assert (agent.box.network, agent.tests.network) == (("a.org",), ("a.org",))
    healthy = tasks["s12"].tests
    assert isinstance(healthy, FolderTests)
    assert healthy.healthcheck is not None
    assert (healthy.env, healthy.solution_env) == ({"WANTED": "42"}, {"THE_ANSWER": "42"})
    assert (tasks["s12"].box.workdir, tasks["s12"].box.env) == ("/app", {"PLACE": "/app"})
    copy, own = (tasks[name].tests for name in ("s14-copy", "s14-image"))
    assert isinstance(copy, FolderTests)
    assert isinstance(own, FolderTests)
    assert copy.verifier is not None
    assert own.verifier is not None
    assert copy.verifier.artifacts == {"/logs/artifacts": (), "/work/answer.txt": ()}
    assert (copy.verifier.box.image, copy.verifier.bundled) == (BASE_IMAGE, False)
    assert own.verifier.artifacts["/work/out"] == ("*.log",)
    assert own.verifier.box.image.startswith("plateau-task:")
    assert (own.verifier.bundled, own.verifier.build) == (True, tmp_path / "s14-image" / "tests")
    assert tasks["s14-copy"].box.mounts == ("/logs/artifacts",)


def test_steps_are_tasks_in_one_box(tmp_path: Path) -> None:
    write_set(tmp_path, "a.org")
    task = read_folder(tmp_path / "s13-last")
    assert isinstance(task.tests, FolderTests)
    one, two = task.tests.steps
    assert isinstance(one.tests, FolderTests)
    assert isinstance(two.tests, FolderTests)
    assert task.instruction == "# one\n\nWrite 42 into answer.txt.\n\n# two\n\nMultiply it by the factor."
    assert (task.tests.last_decides, one.tests.gate, two.tests.gate) == (True, True, False)
    assert (one.tests.timeout_s, two.tests.timeout_s) == (30, 600)
    assert (dict(one.tests.files), two.tests.files.keys()) == ({}, {"factor", "setup.sh"})
    assert task.tags["unknown_keys"] == "steps[1].agent.timeout_sec, steps[1].artifacts"
    known = {task.digest}
    for path in ("steps/two/workdir/factor", "steps/one/instruction.md", "steps/two/tests/check.sh"):
        (tmp_path / "s13-last" / path).write_text("other")
        known.add(read_folder(tmp_path / "s13-last").digest)
    assert len(known) == 4


# --- suites -------------------------------------------------------------------------------------------


def test_a_folder_of_tasks_is_a_suite(tmp_path: Path) -> None:
    for i in range(12):
        make(tmp_path / f"task{i}", f'[metadata]\nrepo = "r{i // 2}"\n')
    suite = load_suite(str(tmp_path))
    train = [task for task in FolderSuite(tmp_path).tasks if task.split is Split.TRAIN]
    assert 0 < len(train) < 12
    drawn = suite.train_tasks(0, len(train))
    assert {task.id for task in drawn} == {task.id for task in train}
    assert suite.train_tasks(0, 3) == suite.train_tasks(0, 3)
    held = suite.held_out_tasks(0, 12 - len(train))
    assert not {task.cluster for task in held} & {task.cluster for task in drawn}
    with pytest.raises(ValueError, match=r"tasks\.held_out: 13 asked for"):
        suite.held_out_tasks(0, 13)
    with pytest.raises(ValueError, match="no human data"):
        suite.corpus(0, 1)


def test_unknown_suites_are_refused_with_the_choices(tmp_path: Path) -> None:
    assert load_suite("katas").name == "katas"
    with pytest.raises(ValueError, match="'kata' is neither a suite nor a folder"):
        load_suite("kata")
    with pytest.raises(ValueError, match="holds no task folder"):
        load_suite(str(tmp_path))
    shutil.copytree(make(tmp_path / "one"), tmp_path / "two")
    with pytest.raises(ValueError, match="more than one task is called 'org/hello'"):
        load_suite(str(tmp_path))


# --- katas as folders -----------------------------------------------------------------------------------


def test_a_kata_survives_the_trip_through_a_folder(tmp_path: Path) -> None:
    kata = katas.held_out_tasks(0, 3)[2]
    write_folder(kata, tmp_path / "kata")
    task = read_folder(tmp_path / "kata")
    assert task.instruction.startswith(kata.instruction)
    assert (task.split, task.stratum, task.cluster) == (kata.split, kata.stratum, kata.cluster)
    assert task.box.image == BASE_IMAGE
    assert "unknown_keys" not in task.tags
    good = grade_folder(task, Diff(written={"solution.py": kata.solution.encode()}), LocalBackend())
    assert good.outcome is Outcome.PASSED, good
    as_others_do = replace(task, tags={})  # other tools run tests/test.sh, which has to say the same
    good = grade_folder(as_others_do, Diff(written={"solution.py": kata.solution.encode()}), LocalBackend())
    assert good.outcome is Outcome.PASSED, good
    for program in (b"", b"def f(a):\n return 1\n", b"def f(a) return"):
        bad = grade_folder(task, Diff(written={"solution.py": program}), LocalBackend())
        assert bad.outcome is Outcome.FAILED
        scripted = grade_folder(as_others_do, Diff(written={"solution.py": program}), LocalBackend())
        assert (scripted.outcome, scripted.reason) == (Outcome.FAILED, "reward 0")
    with pytest.raises(ValueError, match="is a folder task already"):
        write_folder(task, tmp_path / "again")


def test_the_written_solution_script_solves_it(tmp_path: Path) -> None:
    kata = katas.held_out_tasks(1, 1)[0]
    write_folder(kata, tmp_path)
    task = read_folder(tmp_path)
    box = LocalSandbox(task.box)
    before = box.snapshot()
    box.write("/tests/solve.sh", (tmp_path / "solution" / "solve.sh").read_bytes(), mode=0o755)
    assert box.run(["sh", "/tests/solve.sh"]).exit_code == 0
    assert box.diff(before).written == {"solution.py": kata.solution.encode()}
    box.close()
