"""Files that users wrote elsewhere: a byte order mark changes nothing; line ends stay where they count."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from plateau_bench.results.claims.published_series import read_series
from plateau_bench.tasks.files import text_of
from plateau_bench.tasks.formats.rows import read_rows
from plateau_bench.tasks.formats.task_toml import read_task_toml
from plateau_bench.validate import read_yaml

MARK = b"\xef\xbb\xbf"
texts = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=20)


def written(data: bytes, name: str = "file") -> Path:
    place = Path(tempfile.mkdtemp()) / name
    place.write_bytes(data)
    return place


@settings(max_examples=40, deadline=None)
@given(texts, st.sampled_from(["\n", "\r\n"]), st.sampled_from([b"", MARK]))
def test_texts_and_tables_read_the_same(text: str, end: str, mark: bytes) -> None:
    lines = f"a{text}{end}b{end}"
    assert text_of(written(mark + lines.encode())) == f"a{text}\nb\n"
    assert text_of(written(mark + lines.encode()), exact=True) == lines
    row = json.dumps({"id": text}, ensure_ascii=False)
    assert read_yaml(written(mark + (row + end).encode())) == {"id": text}
    toml = (
        f'schema_version = "1.0"{end}[metadata]{end}author_name = {json.dumps(text, ensure_ascii=False)}{end}'
    )
    assert read_task_toml(written(mark + toml.encode(), "task.toml"))[0] is not None
    (found,) = read_rows(written(mark + (row + end).encode(), "rows.jsonl"))
    assert found.data["id"] == text


def test_a_series_with_a_mark_keeps_its_labels() -> None:
    rows = b"label,n,rate\nfirst,100,0.5\nlast,100,0.6\n"
    plain, marked = (read_series(written(mark + rows, "s.csv")) for mark in (b"", MARK))
    assert marked == plain
    assert [point.label for point in marked] == ["first", "last"]
