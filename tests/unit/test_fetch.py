"""Published files: fetched when asked, whole and checked; what is said where one is missing or out of reach."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import bitspike as bs
from bitspike.cli import main
from bitspike.data.download import TRIES, download
from bitspike.errors import ConstraintError, DataError, RecipeError
from bitspike.recipe import load, names
from bitspike.recipe.needs import needs_of
from bitspike.recipe.published import PUBLISHED
from bitspike.runs.construct.data import as_changes
from bitspike.runs.construct.weights_file import find_file

CONTENT = b"weights" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()
NAME = "resnet20-12fca82f.th"


@contextmanager
def server(*answers: bytes | int) -> Iterator[tuple[str, list[str]]]:
    """Serve one answer a request, the last one for ever: the bytes of a file of CONTENT's length, or a refusal."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as house:
        threading.Thread(target=house.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{house.server_port}/file", asked
        finally:
            house.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy_and_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_file_is_fetched_whole(tmp_path: Path) -> None:
    with server(CONTENT) as (address, asked):
        download(address, tmp_path / "new" / "file", sha256=SHA, size=len(CONTENT))
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert len(asked) == 1


@pytest.mark.parametrize("first", [503, CONTENT[:100]])
def test_a_broken_connection_is_tried_again(tmp_path: Path, first: bytes | int) -> None:
    with server(first, CONTENT) as (address, asked):
        download(address, tmp_path / "file", sha256=SHA, size=len(CONTENT), wait=0.0)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "requests", "said"),
    [
        (404, 1, "could not be fetched: the server answers 404"),
        (500, TRIES, "could not be fetched: the server answers 500"),
        (CONTENT[:100], TRIES, "could not be fetched: "),
        (CONTENT.swapcase(), 1, "is not the file that is known: its SHA-256 is"),
    ],
)
def test_what_cannot_be_fetched_is_told_and_nothing_is_written(
    tmp_path: Path, answer: bytes | int, requests: int, said: str
) -> None:
    (tmp_path / "file").write_text("of before")
    with server(answer) as (address, asked), pytest.raises(DataError) as error:
        download(address, tmp_path / "file", sha256=SHA, size=len(CONTENT), wait=0.0)
    assert said in str(error.value)
    assert str(tmp_path / "file") in str(error.value), "the way out says where a copy goes"
    assert len(asked) == requests
    assert (tmp_path / "file").read_text() == "of before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_without_a_network_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be fetched(.|\n)*where there is a network"):
        download("http://127.0.0.1:9/file", tmp_path / "file", sha256=SHA, size=len(CONTENT), wait=0.0)
    (tmp_path / "taken").write_text("")
    with (
        server(CONTENT) as (address, _),
        pytest.raises(DataError, match=r"cannot be written(.|\n)*--root ANOTHER_FOLDER"),
    ):
        download(address, tmp_path / "taken" / "file", sha256=SHA, size=len(CONTENT), wait=0.0)


def test_weights_that_recipes_name_are_known_or_of_the_user() -> None:
    named = {weights for name in names() if (weights := needs_of(load(name)).weights) is not None}
    assert NAME in named
    assert named - set(PUBLISHED) == {"vgg16-cifar10.safetensors"}, "which a run of another recipe writes"
    for name, weights in PUBLISHED.items():
        assert name == weights.name == weights.address.rpartition("/")[2]
        assert weights.sha256.startswith(name.partition("-")[2].removesuffix(".th"))
        assert weights.address.startswith("https://")


def test_weights_are_fetched_once_and_then_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as missing:
        find_file(NAME, None, "model.weights")
    said = str(missing.value)
    assert f"model.weights: there is no file {NAME}; looked in" in said
    assert f"fix: bitspike fetch {NAME} brings it: 1.1 MB of" in said
    assert PUBLISHED[NAME].address in said
    assert PUBLISHED[NAME].sha256 in said
    with server(CONTENT) as (address, asked):
        known = replace(PUBLISHED[NAME], address=address, sha256=SHA, size=len(CONTENT))
        monkeypatch.setitem(PUBLISHED, NAME, known)
        (asset,) = bs.fetch(NAME)
        assert asset.there
        assert bs.fetch(NAME) == [asset]
        assert len(asked) == 1, "what is there is not fetched again"
        path = find_file(NAME, None, "model.weights")
        assert path == Path(asset.path) == tmp_path / "cache" / "bitspike" / "data" / NAME
        path.write_bytes(CONTENT[1:])
        with pytest.raises(DataError, match=f"is not the published file(.|\n)*bitspike fetch {NAME}"):
            find_file(NAME, None, "model.weights")
        bs.fetch(NAME)
        assert path.read_bytes() == CONTENT, "a damaged one is"
    (tmp_path / NAME).write_text("of the user")
    assert find_file(NAME, None, "model.weights") == Path(NAME), "the working directory comes first"


def test_a_recipe_brings_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[str] = []
    monkeypatch.setattr("bitspike.verbs.fetch._bring", lambda name, _: brought.append(name))
    assert [asset.name for asset in bs.fetch("resnet20-cifar10-convert", "mnist-stbp-w4", "mnist")] == [
        NAME,
        "cifar10",
        "mnist",
    ]
    assert brought == [NAME, "cifar10", "mnist"]
    assert bs.fetch("quickstart") == []


def test_a_recipe_of_images_in_parts_brings_these_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    brought: list[str] = []
    monkeypatch.setattr("bitspike.verbs.fetch._bring", lambda name, _: brought.append(name))
    assert [asset.name for asset in bs.fetch("bntt-mnist-rows")] == brought == ["mnist"]
    packaged = load("bntt-mnist-rows", ["data.of=digits"])
    assert (needs_of(packaged).data, needs_of(packaged).come_from) == ("digits", "package")


@pytest.mark.parametrize(
    ("name", "said", "way"),
    [
        ("resnet20", "nothing that can be fetched is called 'resnet20'", f"bitspike fetch {NAME}"),
        ("cifar", "nothing that can be fetched is called 'cifar'", "bitspike fetch cifar10"),
        ("xyz", "nothing that can be fetched is called 'xyz'", "one of cifar10, cifar100, mnist, "),
        ("", "nothing that can be fetched is called ''", "one of cifar10, cifar100, mnist, "),
        ("imagenet", "bitspike does not fetch 'imagenet'", "get them from their authors (your own copy"),
        ("cbp-sew-dvs-gesture", "takes data of kind 'dvs_gesture'", "--set data.root=FOLDER"),
    ],
)
def test_what_is_not_fetched_is_told(name: str, said: str, way: str) -> None:
    with pytest.raises(ConstraintError) as error:
        bs.fetch(name)
    assert said in error.value.message
    assert way in str(error.value.fix)


def test_the_command_line_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    text = capsys.readouterr().out
    assert f"{NAME}  ResNet-20 for CIFAR-10 in float32, 1.1 MB" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main(["fetch", "--json"]) == 0
    assert {row["there"] for row in json.loads(capsys.readouterr().out)} == {False}
    assert main(["fetch", "imagenet"]) == 2
    assert main(["fetch", "quickstart"]) == 0
    assert capsys.readouterr().out == "nothing is missing\n"


def test_a_missing_set_names_the_changes_that_help(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run", "mnist-stbp-w4", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "by --set data.root=FOLDER or the environment variable BITSPIKE_DATA=FOLDER;" in said
    assert "by --set data.download=true (the official archive, 12 MB);" in said
    assert "download=True" not in said
    assert as_changes("a data set needs root=FOLDER") == "a data set needs --set data.root=FOLDER"
