"""Images without an engine: what is unpacked, what is refused, and who may remove it."""

import gzip
import hashlib
import io
import json
import multiprocessing
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plateau_bench.sandbox import BASE_IMAGE, SandboxError, SandboxSpec, SandboxUnavailable
from plateau_bench.sandbox.backends.bubblewrap import BubblewrapBackend
from plateau_bench.sandbox.backends.docker import DockerBackend
from plateau_bench.sandbox.images.unpacked import Store, Unpacked, mount_point
from plateau_bench.sandbox.images.untar import BadImage, Unpacker, split

from .conftest import available
from .test_docker import image_of

Entry = tuple[str, bytes | str | None] | tarfile.TarInfo


def layer(*entries: Entry) -> bytes:
    """A tar: (name, bytes) is a file, (name, text) a link there, (name, None) a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.mode = 0o4755
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type = tarfile.DIRTYPE if content is None else tarfile.SYMTYPE
                info.linkname = content or ""
                tar.addfile(info)
    return buffer.getvalue()


def special(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def saved(
    path: Path, *layers: bytes, config: dict | None = None, zipped: bool = False, lie: str = ""
) -> Path:
    """A tarball like docker save's."""
    names = [f"l{i}/layer.tar" for i in range(len(layers))]
    digests = [lie or "sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
    document = json.dumps({"config": config or {}, "rootfs": {"diff_ids": digests}}).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": names}]
    packed = [gzip.compress(data) if zipped else data for data in layers]
    files = [
        ("manifest.json", json.dumps(manifest).encode()),
        ("c.json", document),
        *zip(names, packed, strict=True),
    ]
    path.write_bytes(layer(*files))
    return path


def oci(path: Path, *layers: bytes) -> Path:
    """A tarball with an OCI image layout."""
    blobs: list[Entry] = []

    def blob(data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs.append((f"blobs/sha256/{digest}", data))
        return {"digest": f"sha256:{digest}", "size": len(data)}

    digests = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
    document = {"config": {"WorkingDir": "/app"}, "rootfs": {"diff_ids": digests}}
    manifest = {
        "config": blob(json.dumps(document).encode()),
        "layers": [blob(gzip.compress(x)) for x in layers],
    }
    index = {"manifests": [blob(json.dumps(manifest).encode())]}
    path.write_bytes(layer(("index.json", json.dumps(index).encode()), ("oci-layout", b"{}"), *blobs))
    return path


@contextmanager
def opened(store: Store, name: str) -> Iterator[Unpacked]:
    image = store.open(name)
    try:
        yield image
    finally:
        image.release()


def unpack(root: Path, *layers: bytes, **options: int) -> Path:
    root.mkdir()
    unpacker = Unpacker(str(root), **{"max_bytes": 1 << 20, **options})
    for data in layers:
        assert unpacker.layer(io.BytesIO(data)) == hashlib.sha256(data).hexdigest()
    return root


def test_layers_add_and_remove(tmp_path: Path) -> None:
    first = layer(
        ("a", None), ("a/one", b"1"), ("a/two", b"2"), ("b", None), ("b/old", b"o"), ("c", b"c"), ("l", "a")
    )
    second = layer(
        ("a/.wh.one", b""),
        ("b/new", b"n"),
        ("b/.wh..wh..opq", b""),
        ("c", None),
        ("./c/d", b"d"),
        ("l", b"f"),
    )
    root = unpack(tmp_path / "root", first, second)
    found = {str(p.relative_to(root)) for p in root.rglob("*")}
    assert found == {"a", "a/two", "b", "b/new", "c", "c/d", "l"}
    assert (root / "l").read_bytes() == b"f"
    assert (root / "a/two").stat().st_mode & 0o7777 == 0o755  # no set-user-id bit


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", b"x")],
        [("a/../../out", b"x")],
        [("link", "../outside"), ("link/out", b"x")],
        [("link", "{outside}"), ("link/out", b"x")],
        [("a", None), ("a/link", "../.."), ("a/link/out", b"x")],
        [special("hard", tarfile.LNKTYPE, "../outside/secret")],
        [("link", "{outside}"), special("hard", tarfile.LNKTYPE, "link/secret")],
        [("link", "{outside}/secret"), special("hard", tarfile.LNKTYPE, "link")],
        [("link", "{outside}"), ("link/.wh.secret", b"")],
        [("link", "{outside}"), ("link/.wh..wh..opq", b"")],
        [("link", "{outside}"), special("link/sub", tarfile.DIRTYPE)],
        [(".wh...", b"")],
        [("/".join("d" * 200), b"x")],
        [("big", b"x" * (2 << 20))],
    ],
)
def test_hostile_layers_reach_nothing_outside(tmp_path: Path, entries: list[Entry]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("kept")
    placed = []
    for entry in entries:
        if isinstance(entry, tuple) and isinstance(entry[1], str):
            entry = (entry[0], entry[1].format(outside=outside))  # noqa: PLW2901
        placed.append(entry)
    with pytest.raises(BadImage):
        unpack(tmp_path / "root", layer(*placed))
    assert [(p.name, p.read_text(), p.stat().st_nlink) for p in outside.iterdir()] == [("secret", "kept", 1)]
    assert {p.name for p in tmp_path.iterdir()} == {"outside", "root"}


def test_absolute_paths_are_the_image_s_own(tmp_path: Path) -> None:
    root = unpack(tmp_path / "root", layer(("/etc/passwd", b"image's"), ("etc/link", "/etc/passwd")))
    assert (root / "etc/passwd").read_bytes() == b"image's"
    assert (root / "etc/link").readlink() == Path("/etc/passwd")


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    unpack(tmp_path / "root", layer(("f", str(tmp_path / "secret"))), layer(("f", b"new")))
    assert (tmp_path / "secret").read_text() == "kept"
    assert (tmp_path / "root/f").read_bytes() == b"new"


def test_devices_and_pipes_are_left_out(tmp_path: Path) -> None:
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    root = unpack(
        tmp_path / "root", layer(*(special(f"s{i}", kind) for i, kind in enumerate(kinds)), ("f", b""))
    )
    assert [p.name for p in root.iterdir()] == ["f"]


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 5000, b"\x1f\x8bnonsense", gzip.compress(b"x" * 3000, mtime=0)[:-9]],
    ids=["empty", "no tar", "no gzip", "cut short"],
)
def test_damaged_layers(tmp_path: Path, data: bytes) -> None:
    if not data:
        assert list(unpack(tmp_path / "root", layer()).iterdir()) == []
        return
    with pytest.raises((BadImage, OSError)):
        unpack(tmp_path / "root", data)


def test_a_bomb_is_stopped(tmp_path: Path) -> None:
    """What unpacks to more than its limit, a header that is all of memory, and many entries."""
    header = special("x", tarfile.XHDTYPE)
    header.size = 1 << 33
    for i, data in enumerate((gzip.compress(layer(("zeros", bytes(3 << 20)))), header.tobuf() + bytes(1024))):
        with pytest.raises(BadImage):
            unpack(tmp_path / f"root{i}", data)
    with pytest.raises(BadImage, match="entries"):
        unpack(tmp_path / "many", layer(*((f"{i}", b"") for i in range(20))), max_entries=10)


@given(st.text(alphabet=st.sampled_from("a./\0\\~é"), max_size=12))
def test_paths_never_climb(path: str) -> None:
    try:
        parts = split(path)
    except BadImage:
        return
    assert not {"", ".", ".."} & set(parts)
    assert Path("/root", *parts).resolve().is_relative_to("/root")


def test_tarballs_of_both_kinds(tmp_path: Path) -> None:
    store = Store(tmp_path / "images")
    one = layer(("bin", None), ("bin/tool", b"t"))
    config = {"WorkingDir": "/src", "Env": ["PATH=/x", "bad", "A=b=c"]}
    for zipped in (False, True):
        with opened(
            store, str(saved(tmp_path / f"{zipped}.tar", one, config=config, zipped=zipped))
        ) as image:
            assert (image.root / "bin/tool").read_bytes() == b"t"
            assert (image.workdir, dict(image.env)) == ("/src", {"PATH": "/x", "A": "b=c"})
    with opened(store, str(oci(tmp_path / "oci.tar", one, layer(("bin/.wh.tool", b""))))) as image:
        assert [p.name for p in image.root.rglob("*")] == ["bin"]
        assert image.workdir == "/app"


def test_layers_must_have_their_digest(tmp_path: Path) -> None:
    store = Store(tmp_path / "images")
    with pytest.raises(SandboxError, match="digest"):
        store.open(str(saved(tmp_path / "i.tar", layer(("f", b"x")), lie="sha256:" + "0" * 64)))
    assert not [p for p in store.folder.iterdir() if p.is_dir()]  # half an image is no image


@pytest.mark.parametrize(
    "files",
    [
        [],
        [("manifest.json", b"[")],
        [("manifest.json", b'[{"Config": "c"}]')],
        [("manifest.json", b"[1, 2]")],
        [("index.json", b'{"manifests": []}')],
        [("manifest.json", "manifest.json")],
        [("manifest.json", "x")],
    ],
)
def test_tarballs_that_are_no_image(tmp_path: Path, files: list[Entry]) -> None:
    path = tmp_path / "i.tar"
    path.write_bytes(layer(*files))
    with pytest.raises(SandboxError, match="i.tar"):
        Store(tmp_path / "images").open(str(path))


def test_eviction_takes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    store = Store(tmp_path / "images")
    paths = [saved(tmp_path / f"{i}.tar", layer((f"f{i}", b"x" * 1000))) for i in range(3)]
    images = [store.open(str(path)) for path in paths]
    folders = [image.root.parent for image in images]
    for i, image in enumerate(images):
        os.utime(image.root.parent / "meta.json", (1000 + i, 1000 + i))
    images[0].release()
    images[2].release()
    assert Store(store.folder).evict(2000) == 1000
    assert [f.exists() for f in folders] == [False, True, True]
    assert store.evict(0) == 1000  # the one in use stays
    assert [f.exists() for f in folders] == [False, True, False]
    images[1].release()
    assert store.evict(0) == 1000
    store.open(str(paths[0])).release()  # comes back


def _open(folder: Path, path: Path, done: "multiprocessing.Queue[str]") -> None:
    said: list[str] = []
    image = Store(folder, said.append).open(str(path))
    done.put(f"{len(said)} {(image.root / 'f').stat().st_size}")
    time.sleep(0.2)


def test_processes_unpack_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "i.tar", layer(("f", b"x" * 900_000)))
    context = multiprocessing.get_context("fork")
    done: multiprocessing.Queue[str] = context.Queue()
    crowd = [context.Process(target=_open, args=(tmp_path / "images", path, done)) for _ in range(4)]
    for process in crowd:
        process.start()
    found = sorted(done.get(timeout=30) for _ in crowd)
    for process in crowd:
        process.join()
    assert found == ["0 900000"] * 3 + ["1 900000"]


def test_leftovers_of_the_killed_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "images")
    for name in (".part-" + "a" * 64, ".gone-" + "b" * 64):
        (store.folder / name / "rootfs").mkdir(parents=True)
    store.clean()
    assert not list(store.folder.glob(".[pg]*"))


def test_a_full_disk_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plateau_bench.sandbox.images.unpacked.RESERVE", 1 << 60)
    with pytest.raises(SandboxUnavailable, match="PLATEAU_CACHE"):
        Store(tmp_path / "images").open(str(saved(tmp_path / "i.tar", layer(("f", b"x")))))


def test_a_mount_point_is_never_a_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/way").symlink_to(tmp_path)
    with pytest.raises(BadImage):
        mount_point(tmp_path / "root", 0, "/way/made")
    assert not (tmp_path / "made").exists()
    assert mount_point(tmp_path / "root", 0, "/plain/made") == 0
    assert (tmp_path / "root/plain/made").is_dir()


# boxes


@pytest.fixture
def images(tmp_path_factory: pytest.TempPathFactory) -> BubblewrapBackend:
    backend = available("bubblewrap")
    assert isinstance(backend, BubblewrapBackend)
    folder = tmp_path_factory.mktemp("images")
    for path in (folder, *folder.parents):
        if path.name.startswith(("pytest", "popen", "images")):  # boxes run as users that may not enter ours
            path.chmod(0o755)
    backend.images = Store(folder)
    return backend


@pytest.mark.bwrap
def test_image_without_python_is_said(images: BubblewrapBackend, tmp_path: Path) -> None:
    path = saved(tmp_path / "i.tar", layer(("bin", None), ("app", None), ("etc/x", b"x")))
    with pytest.raises(SandboxUnavailable, match="has no python3"):
        images.open(SandboxSpec(image=str(path), workdir="/app"))
    (folder,) = images.images.folder.glob("*/rootfs")
    images.images.evict(0)  # a box that did not start holds nothing
    assert not folder.exists()


@pytest.mark.bwrap
def test_links_of_an_image_lead_nowhere_on_the_host(images: BubblewrapBackend, tmp_path: Path) -> None:
    """A top-level link of a hostile image is a link in the box, too, and not what it means on the host."""
    (tmp_path / "secret").write_text("host")
    system = [("etc", str(tmp_path)), ("root", "/"), ("proc", "/"), ("tmp", "/usr"), ("dev", "/")]
    system += [
        (name, str(Path("/", name).readlink()))
        for name in ("bin", "lib", "lib64")
        if Path(f"/{name}").is_symlink()
    ]
    path = saved(tmp_path / "i.tar", layer(*system))
    store = images.images
    image = store.open(str(path))
    (image.root / "usr").symlink_to("/usr")  # would be the host's, were it resolved there
    image.release()
    with pytest.raises(SandboxUnavailable, match="has no python3"):
        images.open(SandboxSpec(image=str(path), workdir="/app"))


@pytest.mark.docker
@pytest.mark.slow
def test_a_task_image_in_both_backends(images: BubblewrapBackend) -> None:
    """The same image, from an engine and without one: its files, its environment, its workspace."""
    docker_backend, bubblewrap = available("docker"), images
    assert isinstance(docker_backend, DockerBackend)
    run = "mkdir d && echo content > d/file && ln -s d/file l && chmod 750 d"
    recipe = f"FROM {BASE_IMAGE}\nENV FROM_IMAGE=yes\nUSER root\nWORKDIR /app\nRUN {run}\n"
    name = "plateau-test-unpacked"
    with image_of(docker_backend, name, recipe):
        spec = SandboxSpec(image=name, workdir="/app")
        for backend in (docker_backend, bubblewrap):
            with closing(backend.open(spec)) as box:
                assert set(box.snapshot()) == {"d/file"}, backend.name
                done = box.run("id -u; cat l; echo more >> d/file; echo $FROM_IMAGE; pwd")
                assert done.stdout == "1000\ncontent\nyes\n/app\n", backend.name
                assert box.run("touch /etc/x /usr/x").exit_code != 0
                assert box.run("python3 -c 'import ssl, sqlite3'; git --version").exit_code == 0
            with closing(backend.open(spec)) as box:
                assert box.read("d/file") == b"content\n", "a box changes its own copy"
        with pytest.raises(ValueError, match="disk_mb"):
            bubblewrap.open(SandboxSpec(image=name, workdir="/usr", disk_mb=16))
