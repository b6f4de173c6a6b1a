"""Settings from a file: JSON or TOML, or the ``config.json`` of a run that is to be repeated."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError

_FORMS = "give a JSON object or a TOML file of settings, or the config.json of a run"


def read_config_file(path: Path, *parts: str) -> dict[str, Any]:
    """The settings in a file.

    Args:
      parts: of a run's ``config.json``, which of its objects hold the settings; several are put together.

    Raises:
      SooError: no such file, neither JSON nor TOML, no object, or a run that has none of the parts.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError as error:
        raise SooError(f"{path}: no such file; {_FORMS}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SooError(f"{path}: not valid JSON ({error}); {_FORMS}") from error
    except tomllib.TOMLDecodeError as error:
        raise SooError(f"{path}: not valid TOML ({error}); {_FORMS}") from error
    if not isinstance(raw, dict):
        raise SooError(f"{path}: holds no JSON object; {_FORMS}")
    if "job" not in raw:
        return raw
    found = [raw[part] for part in parts if isinstance(raw.get(part), dict)]
    if not found:
        raise SooError(f"{path}: is of a run of soo {raw['job']}, which holds no settings of this kind; {_FORMS}")
    return {name: value for part in found for name, value in part.items()}
