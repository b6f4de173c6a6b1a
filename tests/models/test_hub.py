"""Models by their names on a Hub: the real client against a small server on this machine that speaks its protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants as constants
import jax
import numpy as np
import pytest

import soo_jax as soo
from soo_jax.errors import SooError
from soo_jax.models.hub import is_hub_name

COMMIT, OLDER = "a" * 40, "b" * 40
REFUSED = {"gated": ("GatedRepo", 403), "missing": ("RepoNotFound", 404), "broken": (None, 500)}


class Hub(BaseHTTPRequestHandler):
    """``org/small`` is the model in ``folder``; a few other names are refused, each in its own way."""

    def __init__(self, folder, asked, *rest):
        self.folder, self.asked = folder, asked
        super().__init__(*rest)

    def log_message(self, *_):
        """Nothing to the terminal."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        name = path.removeprefix("/api/models").split("/")[2]
        if name in REFUSED:
            return self.answer(REFUSED[name][1], b"{}", REFUSED[name][0])
        if path.startswith("/api/models/org/small/revision/"):
            revision = path.rpartition("/")[2]
            if revision not in ("main", "v1", COMMIT):
                return self.answer(404, b"{}", "RevisionNotFound")
            return self.json({"id": "org/small", "sha": OLDER if revision == "v1" else COMMIT, "siblings": []})
        if path.startswith("/api/models/org/small/tree/"):
            return self.json([self.entry(file) for file in sorted(self.folder.iterdir())])
        file = self.folder / path.rpartition("/")[2]
        return self.answer(200, file.read_bytes()) if file.is_file() else self.answer(404, b"", "EntryNotFound")

    def entry(self, file):
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

    def json(self, value):
        self.answer(200, json.dumps(value).encode())

    def answer(self, status, body, error=None):
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", OLDER if OLDER in self.path else COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(mistral_folder, tmp_path, monkeypatch):
    """The address of a running hub, and the paths that it was asked for; this process uses it, with an empty cache."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()
    for file in mistral_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling.py").write_text("raise SystemExit('never run')")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield address, asked
    server.shutdown()
    thread.join()
    server.server_close()


def same_model(one, other):
    tokens = np.arange(3, 12)[None]
    read = [np.asarray(lm.forward(lm.params, tokens, np.ones_like(tokens, bool))[soo.logits()]) for lm in (one, other)]
    return np.array_equal(*read)


def test_a_name_gives_the_model_with_its_commit_and_neither_pickles_nor_code(hub, mistral, tmp_path):
    lm = soo.load("org/small")
    assert same_model(lm, mistral) and lm.fingerprint == mistral.fingerprint
    assert (lm.name, lm.hub.commit) == ("org/small", COMMIT)
    fetched = {file.name for file in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert "model.safetensors" in fetched and not {name for name in fetched if name.endswith((".bin", ".py"))}


def test_a_fetched_model_is_merged_with_an_adapter_like_any_folder(hub, tmp_path):
    lm = soo.load("org/small")
    config = soo.LoraConfig(rank=2, alpha=4.0, targets=("q",))
    out = soo.merge_folder(lm, soo.init_lora(lm.config, config, jax.random.key(0)), tmp_path / "merged")
    assert same_model(soo.load(out), lm)
    assert not [file for file in out.iterdir() if file.is_symlink()]


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub):
    assert soo.load("org/small@v1").hub.commit == OLDER
    assert soo.load(f"org/small@{COMMIT}").hub.commit == COMMIT
    with pytest.raises(SooError, match="has no revision nowhere; give a branch"):
        soo.load("org/small@nowhere")


def test_what_is_cached_loads_offline_and_what_is_not_says_what_to_do(hub, monkeypatch, mistral):
    soo.load("org/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same_model(soo.load("org/small"), mistral)
    with pytest.raises(SooError, match="unset HF_HUB_OFFLINE, or give a folder"):
        soo.load("org/other")


def test_without_a_network_one_line_names_network_and_endpoint(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SooError, match="could not be fetched; check network and HF_ENDPOINT") as raised:
        soo.load("org/small")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/gated", "asks for consent; give it on .*/org/gated and set HF_TOKEN"),
        ("org/missing", "no path here; on the Hub at .* there is no such model either"),
        ("org/broken", "could not be fetched; check network"),
    ],
)
def test_a_model_that_is_not_given_out_is_one_line_with_the_cure(hub, name, message):
    with pytest.raises(SooError, match=message) as raised:
        soo.load(name)
    assert "\n" not in str(raised.value)


def test_a_full_disk_names_the_cache(hub, monkeypatch):
    import huggingface_hub

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(SooError, match=r"the disk is full; free space in .*cache, or set HF_HOME"):
        soo.load("org/small")


def test_a_path_wins_over_a_name_and_nothing_is_asked_of_the_hub(hub, mistral_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "small").symlink_to(mistral_folder)
    assert not is_hub_name("org/small")
    assert soo.load("org/small").hub is None and not hub[1]


@pytest.mark.parametrize("text", ["organism", "./org/small", "/org/small", "a/b/c", "../model", "org/", "model.gguf"])
def test_what_is_no_name_is_taken_for_a_path(text):
    assert not is_hub_name(text)


def test_the_command_reads_the_environment_of_huggingface_hub_and_records_the_commit(hub, tmp_path):
    out = tmp_path / "run"
    command = ["eval", "org/small", "--out", str(out), "--n", "1", "--families", "burglar", "--quiet"]
    command += ["--max-new-tokens", "8", "--no-honesty", "--no-margins"]
    environment = {**os.environ, "HF_ENDPOINT": hub[0], "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    script = f"import sys; from soo_jax.cli import run; sys.exit(run({command!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    model = json.loads((out / "config.json").read_text())["model"]
    assert (model["name"], model["commit"]) == ("org/small", COMMIT)
    assert (tmp_path / "home" / "hub" / "models--org--small").is_dir()
