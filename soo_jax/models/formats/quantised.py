"""Folders whose kernels are stored as codes and scales, as this library writes them.

``config.json`` says ``"quantization_config": {"quant_method": "soo", "scheme": "nf4", "block": 64, "version": 1}``; for
every kernel the weight files hold ``NAME.codes`` and ``NAME.scales`` in the layout of
:class:`soo_jax.models.quantised.Quantised`; ``soo_quantised.json`` has the sha256 of every weight file and the
fingerprint of the wide model, so that adapters of one fit the other.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from soo_jax.errors import SooError
from soo_jax.files import read_json
from soo_jax.models.formats.safetensors import SafetensorsReader, weight_files
from soo_jax.models.quantised import BLOCK, SCHEMES

METHOD, VERSION, RECORD = "soo", 1, "soo_quantised.json"
CODES, SCALES = ".codes", ".scales"


class QuantisedReader(SafetensorsReader):
    """The tensors of a quantised folder; every weight file is compared with its checksum first.

    Attributes:
      scheme: in which kernels are stored. fingerprint: of the wide model.

    Raises:
      SooError: as for other safetensors, a later version of the format, or a file that is not as it was written.
    """

    def __init__(self, folder: str | Path, scheme: str):
        folder = Path(folder)
        record = read_json(folder / RECORD)
        sums, fingerprint = record.get("sha256"), record.get("fingerprint")
        if not isinstance(sums, dict) or not isinstance(fingerprint, str):
            raise SooError(f"{folder / RECORD}: has no sha256 or no fingerprint; make the folder again")
        for path in weight_files(folder):
            if sums.get(path.name) != _sum(path):
                raise SooError(f"{path}: is not as it was written (sha256); make the folder again, or copy it again")
        super().__init__(folder)
        self.scheme = scheme
        self.fingerprint = fingerprint


def open_folder(folder: Path) -> SafetensorsReader:
    """The reader of a folder's tensors. Raises SooError for weights in a format that is not read, by its name."""
    scheme = stored_scheme(read_json(folder / "config.json"), folder / "config.json")
    return SafetensorsReader(folder) if scheme is None else QuantisedReader(folder, scheme)


def stored_scheme(config: dict[str, Any], where: Path) -> str | None:
    """The scheme in which kernels are stored, None where they are wide."""
    told = config.get("quantization_config")
    if told is None:
        return None
    method = told.get("quant_method") if isinstance(told, dict) else None
    if method != METHOD:
        kind = f"{method or 'an unknown method'}{_kind(told)}"
        raise SooError(
            f"{where}: weights quantised by {kind} are not read; take the unquantised model and quantise it here with "
            f"--dtype nf4 or int8"
        )
    if told.get("version") != VERSION or told.get("scheme") not in SCHEMES or told.get("block") != BLOCK:
        raise SooError(f"{where}: a quantised folder of another version of soo-jax; make it again from the wide model")
    return told["scheme"]


def _kind(told: Any) -> str:
    """What else a foreign quantization_config says of itself, for a message."""
    if not isinstance(told, dict):
        return ""
    kind = told.get("bnb_4bit_quant_type") or (told.get("bits") and f"{told['bits']} bits")
    return f" ({kind})" if kind else ""


def record_folder(folder: Path, scheme: str, fingerprint: str) -> None:
    """Writes what tells a reader that the weight files in ``folder`` are quantised, and their checksums."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": METHOD, "scheme": scheme, "block": BLOCK, "version": VERSION}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    record = {"fingerprint": fingerprint, "sha256": {one.name: _sum(one) for one in weight_files(folder)}}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
