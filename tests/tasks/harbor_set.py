"""Harbor task folders in every spelling of the schema; each can be solved and is not to begin with."""

from pathlib import Path

from plateau_bench.tasks.files import write_tree

BASE = 'docker_image = "plateau-base"\n'
REWARD = "mkdir -p /logs/verifier\nif {}; then r=1; else r=0; fi\necho $r > /logs/verifier/reward.txt\n"
SOLVED = REWARD.format('[ "$(cat answer.txt)" = 42 ]')
FETCH = (
    "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())'"
)


def put(folder: Path, **files: str) -> Path:
    """Write files; `__` in a name stands for a slash."""
    write_tree(folder, {name.replace("__", "/"): text.encode() for name, text in files.items()})
    return folder


def task(
    folder: Path, toml: str, test: str = SOLVED, solve: str = "echo 42 > answer.txt\n", **files: str
) -> Path:
    own = {"task.toml": toml, "instruction.md": "Write 42 into answer.txt.\n", "tests/test.sh": test}
    return put(folder, **own, **{"solution/solve.sh": solve}, **files)


def write_set(root: Path, server: str) -> list[str]:
    """Write the set; `server` is host:port of something that says 42 over HTTP. The names, in order."""
    task(
        root / "s10",
        f'version = "1.0"\n[environment]\n{BASE}memory = "256M"\nstorage = "64M"\nallow_internet = false\n'
        '[metadata]\ndifficulty = "easy"\n[verifier]\ntimeout_sec = 60.0\n',
    )
    task(
        root / "s11",
        f'schema_version = "1.1"\nsource = "x"\n[task]\nname = "org/s11"\nkeywords = ["a"]\n'
        f'[[task.authors]]\nname = "A"\n[environment]\n{BASE}cpus = 1\nmemory_mb = 256\nstorage_mb = 64\n'
        "gpus = 0\nmcp_servers = []\n[agent]\ntimeout_sec = 60\n",
        "mkdir -p /logs/verifier\n[ -e answer.txt ] && r=1 || r=0\n"
        'echo "{\\"reward\\": $r, \\"style\\": 0.5}" > /logs/verifier/reward.json\n',
    )
    task(
        root / "s12",
        f'schema_version = "1.2"\n[environment]\n{BASE}workdir = "/app"\nmemory_mb = 256\n'
        '[environment.env]\nPLACE = "${PLACE:-/app}"\n'
        '[environment.healthcheck]\ncommand = "test -d $PLACE"\ninterval_sec = 0.1\nretries = 2\n'
        '[verifier.env]\nWANTED = "42"\n[solution.env]\nTHE_ANSWER = "42"\n',
        REWARD.format('[ "$PWD" = /app ] && [ "$(cat /app/answer.txt)" = "$WANTED" ]'),
        "echo $THE_ANSWER > /app/answer.txt\n",
    )
    for name, strategy in (("mean", "mean"), ("last", "final")):
        steps(root / f"s13-{name}", strategy)
    apart(root)
    hosts = f'network_mode = "allowlist"\nallowed_hosts = ["{server}"]\n'
    ask = f"{FETCH} http://{server}/"
    task(
        root / "s14-fetch",
        f'schema_version = "1.4"\n[environment]\n{BASE}{hosts}',
        REWARD.format(f'[ "$(cat answer.txt)" = 42 ] && ! {ask}'),
        f"{ask} > answer.txt\n",
    )
    task(
        root / "s14-agent",
        f'[environment]\n{BASE}network_mode = "no-network"\n[agent]\n{hosts}[verifier]\n{hosts}',
        REWARD.format(f'[ "$(cat answer.txt)" = "$({ask})" ]'),
        f"{ask} > answer.txt\n",
    )
    return sorted(path.name for path in root.iterdir())


def steps(folder: Path, strategy: str) -> None:
    """The second step needs what the first one left, and its own files; shared tests lie at the top."""
    toml = (
        f'schema_version = "1.3"\nmulti_step_reward_strategy = "{strategy}"\n[environment]\n{BASE}'
        '[[steps]]\nname = "one"\nmin_reward = 1.0\n[steps.verifier]\ntimeout_sec = 30\n'
        '[[steps]]\nname = "two"\nartifacts = ["/work/answer.txt"]\n[steps.agent]\ntimeout_sec = 9\n'
        '[steps.verifier.env]\nWANTED = "84"\n[steps.healthcheck]\ncommand = "test -e made-by-setup"\n'
    )
    put(
        folder,
        **{
            "task.toml": toml,
            "tests/test.sh": REWARD.format("sh /tests/check.sh"),
            "steps/one/instruction.md": "Write 42 into answer.txt.\n",
            "steps/one/solution/solve.sh": "echo 42 > answer.txt\n",
            "steps/one/tests/check.sh": '[ "$(cat answer.txt)" = 42 ] && [ ! -e factor ]\n',
            "steps/two/instruction.md": "Multiply it by the factor.\n",
            "steps/two/workdir/factor": "2\n",
            "steps/two/workdir/setup.sh": "touch made-by-setup\n",
            "steps/two/solution/solve.sh": "echo $(( $(cat answer.txt) * $(cat factor) )) > answer.txt\n",
            "steps/two/tests/check.sh": '[ "$(cat answer.txt)" = "$WANTED" ]\n',
        },
    )


def apart(root: Path) -> None:
    """Verifiers with a box of their own: the agent's image again, and one that brings the tests."""
    task(
        root / "s14-copy",
        f'schema_version = "1.4"\nartifacts = ["answer.txt"]\n[environment]\n{BASE}\n'
        '[verifier]\nenvironment_mode = "separate"\n'
        '[[verifier.collect]]\ncommand = "cp note.txt /logs/artifacts/"\ntimeout_sec = 10\n',
        REWARD.format("grep -q 42 answer.txt && [ -e /logs/artifacts/note.txt ] && [ ! -e other.txt ]"),
        "echo 42 > answer.txt\necho 1 > note.txt\necho 1 > other.txt\n",
    )
    task(
        root / "s14-image",
        f'schema_version = "1.4"\n[environment]\n{BASE}\n'
        '[[artifacts]]\nsource = "/work/out"\ndestination = "out"\nexclude = ["*.log"]\n'
        "[verifier.environment]\nmemory_mb = 256\n",
        REWARD.format("cmp /work/out/answer.txt /tests/wanted && [ ! -e /work/out/a.log ]"),
        "mkdir out\necho 42 > out/answer.txt\necho 1 > out/a.log\n",
        **{"tests/wanted": "42\n", "tests/Dockerfile": "FROM plateau-base\nCOPY . /tests\n"},
    )
