"""Models by their names on the Hugging Face Hub, through huggingface_hub: its cache, its settings, its token.

Weights as safetensors, JSON, and the files of tokenizer and chat template are fetched, and nothing else: no pickles, no
code. Which server, which cache and whether to go online at all is said by huggingface_hub's own environment
variables: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from soo_jax.errors import SooError
from soo_jax.models.tokenizer import first_line

WANTED = ("*.safetensors", "*.json", "tokenizer.model", "merges.txt", "vocab.txt", "*.jinja")
UNWANTED = ("*/*", "consolidated*", "*.bin.index.json")
"""Copies of the weights in other layouts, and whatever lies in folders."""

_NAME = re.compile(r"^(?P<repo>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?$")


@dataclass(frozen=True)
class HubModel:
    """A model that was fetched.

    Attributes:
      repo: ``org/name``. commit: the revision that its branch or tag stood for. folder: where the files lie.
    """

    repo: str
    commit: str
    folder: Path


def is_hub_name(text: str) -> bool:
    """Whether this could be ``org/name`` or ``org/name@revision``, and is no path on this machine."""
    return bool(_NAME.match(text)) and not Path(text).exists()


def fetch_model(name: str, wanted: tuple[str, ...] = WANTED) -> HubModel:
    """Fetches ``org/name`` or ``org/name@revision`` (a branch, a tag or a commit); what is in the cache stays there.

    Args:
      wanted: patterns of the files to fetch.

    Raises:
      SooError: no such model or revision, one that asks for consent or a token, no network, a full disk.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub import errors as hub

    found = _NAME.match(name)
    if not found:
        raise SooError(f"{name}: no name of a model; a name is org/name or org/name@revision")
    repo, revision = found["repo"], found["revision"]
    where = f"{name} is no path here; on the Hub at {constants.ENDPOINT}"
    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(UNWANTED))
    except hub.GatedRepoError as error:
        raise SooError(
            f"{name}: the model asks for consent; give it on {constants.ENDPOINT}/{repo} and set HF_TOKEN"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise SooError(f"{where} there is no such model either; correct the name, or set HF_TOKEN") from error
    except hub.RevisionNotFoundError as error:
        raise SooError(f"{where} the model has no revision {revision}; give a branch, a tag or a commit") from error
    except (hub.LocalEntryNotFoundError, hub.IncompleteSnapshotError) as error:
        cure = "unset HF_HUB_OFFLINE" if constants.is_offline_mode() else "check network and HF_ENDPOINT"
        raise SooError(
            f"{name} is no path here, the cache of huggingface_hub does not hold all of it, and it could not be "
            f"fetched; {cure}, or give a folder on disk"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SooError(
                f"{name}: the disk is full; free space in {constants.HF_HUB_CACHE}, or set HF_HOME elsewhere"
            ) from error
        raise SooError(f"{where} the model could not be fetched ({first_line(error)}); try again") from error
    except Exception as error:  # the HTTP client below raises errors of its own, which differ between versions
        raise SooError(f"{where} the model could not be fetched ({first_line(error)}); try again") from error
    return HubModel(repo, Path(folder).name, Path(folder))
