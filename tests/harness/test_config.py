import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.harness.config import ConfigError, RunConfig, load_config, parse_config, to_plain

GOOD = {"name": "x", "arms": {"replace": {"strategy": "replace"}}}
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_survives_a_round_trip(path: Path) -> None:
    config = load_config(path)
    assert parse_config(to_plain(config), "again") == config


def test_the_main_job_is_what_the_defaults_describe() -> None:
    config = load_config(CONFIGS[0].parent / "katas.yaml")
    assert config == RunConfig(name=config.name, arms=config.arms, seeds=config.seeds, rounds=config.rounds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"armz": {}}, "unknown key armz; did you mean arms"),
        ({"train": {"learning_rat": 1.0}}, "unknown key train.learning_rat; did you mean learning_rate"),
        ({"rounds": "ten"}, "rounds: expected a whole number, got str 'ten'"),
        ({"rounds": True}, "rounds: expected a whole number, got bool True"),
        ({"rounds": 0}, "rounds: at least 1"),
        ({"seeds": 1}, "seeds: expected a list, got int 1"),
        ({"seeds": [1, 1]}, "seeds: each seed may appear once"),
        ({"arms": {}}, "arms: name at least one arm"),
        (
            {"arms": {"a": {"strategy": "replac"}}},
            "arms.a.strategy: no 'replac'; did you mean replace",
        ),
        ({"arms": {"a": {}}}, "missing key arms.a.strategy"),
        ({"arms": {"shared": {"strategy": "replace"}}}, "arms.shared: use letters"),
        ({"arms": {"../up": {"strategy": "replace"}}}, "arms.../up: use letters"),
        ({"arms": {"a": {"strategy": "fresh_human", "fraction": 1.5}}}, "arms.a.fraction: below 1"),
        (
            {"arms": {"a": {"strategy": "dedupe_cap", "fraction": 0.5}}},
            "arms.a.fraction: the strategy dedupe_cap does not use it; it takes cap, temperature, tampered",
        ),
        ({"arms": {"a": {"strategy": "no_train", "cap": 4}}}, "arms.a.cap: the strategy no_train does not"),
        ({"arms": {"a": {"strategy": "gate", "tolerance": -1}}}, "arms.a.tolerance: at least 0"),
        (
            {"arms": {"a": {"strategy": "adaptive_temperature", "temperatures": [1.0, 1.0]}}},
            "arms.a.temperatures: different ones",
        ),
        (
            {"arms": {"a": {"strategy": "adaptive_temperature"}}, "tasks": {"train": 4}},
            "arms.a.temperatures: needs more tasks.train",
        ),
        ({"practice": {"temperature": -1}}, "practice.temperature: at least 0"),
        ({"model": {"path": 3}}, "model.path: expected a text, got int 3"),
        ({"agent": {"vendorr": "x"}}, "unknown key agent.vendorr; did you mean vendor?"),
        ({"seeds": [1, "x"]}, "seeds[1]: expected a whole number, got str 'x'"),
        ({"seeds": []}, "seeds: give at least one integer"),
        ({"arms": {"a": 3}}, "arms.a: expected keys and values, got int 3"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate: above 0"),
        ({"improver": "finetune"}, "improver: expected keys and values, got str"),
        ({"train": None}, "train: expected keys and values, got nothing"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(change: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(GOOD | change, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert message in str(caught.value)


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("{name: x, arms: {a: {strategy: replace}}, train: {learning_rate: 1e-3}}")
    assert load_config(path).train.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "", "\x00"])
def test_a_file_that_is_no_config_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_config(tmp_path / "nowhere.yaml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.ascii_letters),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "arms", "seeds", "train", "model", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_no_input_gets_past_the_checks_with_another_error(data: object) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(data, "f")
