"""With what a run was made: versions, platform, devices, git revision."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """Versions of the libraries, platform, devices and the git revision of this library, for a run's config.

    The revision ends in ``-dirty`` where tracked files were changed, and is None where soo_jax is no git checkout.
    """
    import platform
    from importlib import metadata

    import jax

    versions = {}
    for package in ("soo-jax", "jax", "jaxlib", "flax", "optax", "transformers", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    device = jax.devices()[0]
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "backend": device.platform,
        "device_kind": device.device_kind,
        "device_count": jax.device_count(),
        "git_revision": _git_revision(Path(__file__).resolve()),
    }


def _git_revision(file: Path) -> str | None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(file.parent), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        # Installed into an environment inside of some other checkout, the library is not tracked there.
        git("ls-files", "--error-unmatch", file.name)
        revision = git("rev-parse", "HEAD")
        return revision + "-dirty" if git("status", "--porcelain", "--untracked-files=no") else revision
    except (OSError, subprocess.SubprocessError):
        return None
