"""Files and folders are whole or absent, and what is not ours is left alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitspike.files import obstacle, partial, previous, remove_partial, way_out, whole_folder, write_whole


def test_a_file_is_written_whole_or_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_two_that_write_one_file_write_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flush = tmp_path / "a.json", os.fsync

    def second(handle: int) -> None:
        monkeypatch.setattr("os.fsync", flush)
        write_whole(path, "second")
        assert path.read_text() == "second"

    monkeypatch.setattr("os.fsync", second)
    write_whole(path, "first, and longer")
    assert path.read_text() == "first, and longer"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_is_half_written_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / ".network.partial").mkdir()
    (tmp_path / ".network.partial" / ".x.partial").write_text("")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".b.partial").write_text("")
    (tmp_path / "kept").write_text("")
    remove_partial(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["checkpoints", "kept"]


def test_a_folder_takes_the_place_of_an_older_one_and_touches_no_other(tmp_path: Path) -> None:
    for name in ("net", "net.partial", "net.previous"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text(name)
    with whole_folder(tmp_path / "net") as made:
        (made / "new").write_text("")
        assert (tmp_path / "net" / "old").exists()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "net.partial/old", "net.previous/old", "net/new",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_could_not_be_written_is_as_it_was(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "old").write_text("old")

    def fail() -> None:
        with whole_folder(tmp_path / "net") as made:
            (made / "half").write_text("")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["net", "net/old"]


def test_what_a_kill_left_is_no_obstacle(tmp_path: Path) -> None:
    for left in (partial(tmp_path / "net"), previous(tmp_path / "net")):
        left.mkdir()
        (left / "half").write_text("")
    with whole_folder(tmp_path / "net") as made:
        (made / "new").write_text("")
    assert [p.name for p in (tmp_path / "net").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_a_folder_that_another_process_is_writing_is_left_to_it(tmp_path: Path) -> None:
    """Two open files lock each other out within one process, too."""
    with whole_folder(tmp_path / "net") as made:
        (made / "first").write_text("")
        with pytest.raises(OSError, match="another process is writing it") as caught, whole_folder(tmp_path / "net"):
            pass
        assert way_out(caught.value).startswith("wait until the other process has ended")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["net", "net/first"]


def test_what_a_killed_process_has_left_of_a_file_goes(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="leftovers are told by file locks of POSIX, which this system has not")
    left, young, other = (tmp_path / f".a.json.{'0' * 7}{n}.partial" for n in range(3))
    for part in (left, young, other):
        part.write_text("half")
    strange = tmp_path / ".a.json.backup.partial"
    strange.write_text("of somebody else")
    for part in (left, other, strange):
        os.utime(part, (0, 0))
    with other.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # another process is writing it
        write_whole(tmp_path / "a.json", "new")
    assert not left.exists()
    assert young.exists(), "its process may not have locked it yet"
    assert other.exists()
    assert strange.exists()
    write_whole(tmp_path / "a.json", "newer")
    assert not other.exists()


def test_what_is_in_the_way_of_a_folder_is_told_without_making_it(tmp_path: Path) -> None:
    assert obstacle(tmp_path / "new" / "folder") is None
    (tmp_path / "file").write_text("")
    assert obstacle(tmp_path / "file" / "folder") == f"{tmp_path / 'file'} is a file"
    assert obstacle(tmp_path / "file") == f"{tmp_path / 'file'} is a file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_folder_that_may_not_be_looked_into_is_in_the_way(tmp_path: Path) -> None:
    """Like another user's home; in a process that is no administrator, since those may look everywhere."""
    (tmp_path / "closed" / "inside").mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from bitspike.files import obstacle\n"
        "if os.getuid() == 0:\n"
        "    os.setuid(65534)\n"
        "print(obstacle(Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "closed" / "inside" / "new")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    (tmp_path / "closed").chmod(0o755)
    assert answer.stdout.startswith("you may not write into "), answer.stderr
