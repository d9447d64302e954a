"""The images of one engine: names become ids once, the engine's disk is watched, old pulls are evicted.

A box is created from the id that its image's name meant at first use, so a tag that moves during a run
changes nothing. What plateau pulled is noted with its last use in a small file; when the disk runs short, the
image not used for longest goes first. Images that were there before, or that a container uses, stay.
"""

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound

from plateau_bench.sandbox.base import BASE_IMAGE, SandboxError, SandboxUnavailable
from plateau_bench.sandbox.engine import Chunks, build_image, find_image, tarball
from plateau_bench.sandbox.images.archive import settings
from plateau_bench.sandbox.images.base_image import ensure_base_image

NEED_GB = 1.0
"""Free space that an image to be built is expected to need, 10^9 bytes."""
_TOUCH_S = 600.0
PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
"""Variables of the harness that an installation sees, too; the image keeps none of them."""
_TRUST = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE")
_building = threading.Lock()


def default_ledger() -> Path:
    """The file that remembers what was pulled and when it was last used."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plateau" / "images.json"


class Images:
    """Resolves image names on the engine behind `api`, a docker APIClient."""

    def __init__(
        self, api: Any, say: Callable[[str], None], *, min_free_gb: float = 2.0, ledger: Path | None = None
    ) -> None:
        self.api, self.say = api, say
        self.min_free_gb = min_free_gb
        self._ledger = ledger or default_ledger()
        self._lock = threading.RLock()
        self._touched: dict[str, float] = {}
        self.ids: dict[str, str] = {}
        """Name as asked for -> image id in use, for the record of a run."""

    def resolve(self, name: str, *, gone: bool = False) -> str:
        """The id that `name` meant at first use; builds or pulls what is missing. `gone`: that id is away.

        Raises SandboxError, SandboxUnavailable when the engine's disk is full.
        """
        with self._lock:
            self._check_disk(name)
            if name not in self.ids or gone:
                found = self._fetch(name)
                if self.ids.setdefault(name, found) != found:
                    raise SandboxError(
                        f"image {name!r} was {self.ids[name]} at the start and is {found} now; "
                        "start a new run, or name the image by digest"
                    )
            self._touch(self.ids[name])
            return self.ids[name]

    @cached_property
    def _engine(self) -> tuple[str, str]:
        """The engine's id, and the folder of its data; "" if that is on another machine."""
        with suppress(DockerException, OSError):
            info = self.api.info()
            here = info.get("Name") == socket.gethostname() and Path(info["DockerRootDir"]).is_dir()
            return str(info.get("ID", "")), info["DockerRootDir"] if here else ""
        return "", ""

    def free_gb(self) -> float | None:
        """Free space where the engine keeps its data, 10^9 bytes; None if that is another machine."""
        folder = self._engine[1]
        return shutil.disk_usage(folder).free / 1e9 if folder else None

    def describe(self, name: str) -> tuple[str, dict[str, Any], int]:
        """Digest, settings and size of an image; pulls or builds what is missing. Raises SandboxError."""
        found = find_image(self.api, self.resolve(name))
        if found is None:
            raise SandboxError(f"image {name!r} was removed meanwhile")
        digest = found["Id"].removeprefix("sha256:")
        return digest, settings(found.get("Config") or {}), int(found.get("Size") or 0)

    @contextmanager
    def export(self, digest: str) -> Iterator[Chunks]:
        """The file system of an image, as a tar. Raises SandboxError."""
        box = ""
        try:
            box = self.api.create_container(f"sha256:{digest}", ["true"])["Id"]
            with Chunks(self.api.export(box)) as tar:
                yield tar
        except DockerException as e:
            raise SandboxError(f"the engine cannot export an image: {e}") from e
        finally:
            with suppress(DockerException):
                if box:
                    self.api.remove_container(box, v=True, force=True)

    def evict(self, wanted_gb: float, *, keep: str = "") -> list[str]:
        """Remove what we pulled, longest unused first, until `wanted_gb` are free; the names of what went."""
        removed = []
        for image, entry in sorted(self._entries().items(), key=lambda item: float(item[1]["used"])):
            free = self.free_gb()
            if free is None or free >= wanted_gb:
                break
            if image in self.ids.values() or entry["name"] == keep:
                continue
            try:
                self.api.remove_image(image)  # not by force: the engine refuses what a container uses
            except ImageNotFound:
                pass
            except (DockerException, OSError):
                continue
            else:
                removed.append(str(entry["name"]))
            self._note(image, None)
        return removed

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the images that the engine does not have.

        Raises SandboxUnavailable if its disk cannot be expected to hold them all.
        """
        missing = [name for name in names if not find_image(self.api, name)]
        free, need = self.free_gb(), self.min_free_gb + NEED_GB * len(missing)
        if missing and free is not None and free < need:
            raise SandboxUnavailable(
                f"the engine's disk has {free:.1f} GB free, {len(missing)} images may need {need:.1f}; "
                "free some (docker system prune) or build fewer tasks at once (--limit)"
            )
        return missing

    def with_program(self, image: str, script: str, what: str) -> str:
        """Return the name of an image that is `image` with a program in it: after `script` ran there.

        Its tag is a digest of both, so it is made again exactly when one of them changes. $SSL_CERT_FILE of
        the harness is trusted there, too, for networks that read along. Raises SandboxError, and
        SandboxUnavailable if the script fails; `what` names it.
        """
        base = self.resolve(image)
        name = "plateau-agent:" + hashlib.sha256(f"{base}\0{script}".encode()).hexdigest()[:16]
        with _building:
            if find_image(self.api, name):
                return name
            self.say(f"{what}: once for {image}, some minutes")
            settings = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
            files, trusted = {"script": script.encode()}, Path(os.environ.get("SSL_CERT_FILE", ""))
            if trusted.is_file():
                files["trusted"] = trusted.read_bytes()
                settings |= dict.fromkeys(_TRUST, "/opt/plateau/trusted")
            lines = [f"FROM {base}", "USER root", *(f"ARG {key}" for key in settings)]
            lines += ["COPY . /opt/plateau/", "RUN sh -ex /opt/plateau/script"]
            problem = build_image(
                self.api,
                name,
                fileobj=tarball(files | {"Dockerfile": "\n".join(lines).encode()}),
                custom_context=True,
                buildargs=settings,
                labels={"plateau.agent": what},
            )
        if problem:
            raise SandboxUnavailable(f"{what} failed on {image}: {problem}")
        return name

    def _check_disk(self, name: str) -> None:
        free = self.free_gb()
        if free is None or free >= self.min_free_gb:
            return
        for gone in self.evict(self.min_free_gb, keep=name):
            self.say(f"the engine's disk is nearly full: removed image {gone}")
        free = self.free_gb() or 0.0
        if free < self.min_free_gb:
            raise SandboxUnavailable(
                f"the engine's disk ({self._engine[1]}) has {free:.1f} GB free, boxes need "
                f"{self.min_free_gb:g}; free some: docker system prune"
            )

    def _fetch(self, name: str) -> str:
        if name == BASE_IMAGE:
            ensure_base_image(self.api, self.say)
        if found := find_image(self.api, name):
            return str(found["Id"])
        self.say(f"pulling {name}")
        try:
            self.api.pull(name)
            image = str(self.api.inspect_image(name)["Id"])
        except (DockerException, OSError) as e:
            raise SandboxError(f"image {name!r} is not here and cannot be pulled: {e}") from e
        self._note(image, {"name": name, "used": time.time()})
        return image

    # the ledger: engine id -> image id -> {"name", "used"}

    def _touch(self, image: str) -> None:
        now = time.time()
        if now - self._touched.get(image, 0.0) > _TOUCH_S:
            self._touched[image] = now
            if entry := self._entries().get(image):
                self._note(image, {**entry, "used": now})

    def _entries(self) -> dict[str, dict[str, Any]]:
        return self._load().get(self._engine[0], {})

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._ledger.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, image: str, entry: dict[str, Any] | None) -> None:
        """Set or drop one entry. A lost race loses one date, so there is no lock between processes."""
        all_ = self._load()
        engine = all_.setdefault(self._engine[0], {})
        engine.pop(image, None)
        if entry:
            engine[image] = entry
        with suppress(OSError):  # without the file nothing is evicted, and that is all
            self._ledger.parent.mkdir(parents=True, exist_ok=True)
            part = self._ledger.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(all_, indent=1))
            part.replace(self._ledger)
