"""An image with one more program in it, made once per image and installation."""

import hashlib
import os
import threading
from pathlib import Path

from plateau_bench.sandbox.base import SandboxUnavailable
from plateau_bench.sandbox.engine import build_image, find_image, tarball
from plateau_bench.sandbox.images.engine_cache import Images

PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
"""Variables of the harness that an installation sees, too; the image keeps none of them."""
_TRUST = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE")
_building = threading.Lock()


def with_program(images: Images, image: str, script: str, what: str) -> str:
    """Return the name of an image of that engine that is `image` after `script` ran in it.

    Its tag is a digest of both, so it is made again exactly when one of them changes. $SSL_CERT_FILE of the
    harness is trusted there, too, for networks that read along. Raises SandboxError, and SandboxUnavailable
    if the script fails; `what` names it.
    """
    base = images.resolve(image)
    name = "plateau-agent:" + hashlib.sha256(f"{base}\0{script}".encode()).hexdigest()[:16]
    with _building:
        if find_image(images.api, name):
            return name
        images.say(f"{what}: once for {image}, some minutes")
        settings = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        trusted = Path(os.environ.get("SSL_CERT_FILE", ""))
        files = {"script": script.encode()} | ({"trusted": trusted.read_bytes()} if trusted.is_file() else {})
        settings |= dict.fromkeys(_TRUST, "/opt/plateau/trusted") if "trusted" in files else {}
        files["Dockerfile"] = _dockerfile(base, tuple(settings))
        labels = {"plateau.agent": what}
        problem = build_image(
            images.api, name, fileobj=tarball(files), custom_context=True, buildargs=settings, labels=labels
        )
        if problem:
            raise SandboxUnavailable(f"{what} failed on {image}: {problem}")
        return name


def _dockerfile(base: str, settings: tuple[str, ...]) -> bytes:
    lines = [f"FROM {base}", "USER root", *(f"ARG {name}" for name in settings), "COPY . /opt/plateau/"]
    return "\n".join([*lines, "RUN sh -ex /opt/plateau/script"]).encode()
