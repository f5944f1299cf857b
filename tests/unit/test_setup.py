"""What setup.py compiles, and when: every part, each once, and nothing that is stale."""

from __future__ import annotations

import importlib.util
import re
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from setuptools import Distribution, Extension
from setuptools.errors import CompileError

from bitspike.kernels.cpp import loader as native

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "src" / "bitspike" / "kernels"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bitspike_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = load()


def sources(part: str) -> tuple[str, ...]:
    return setup.SOURCES.get(part, (f"cpp/{part}",))


def replace(library: Path, content: bytes) -> None:
    library.unlink()  # nobody may write into it
    library.write_bytes(content)


# ---------------------------------------------------------------- what is compiled


def test_every_part_is_compiled_and_looked_for() -> None:
    assert sorted(setup.PARTS) == sorted(native.PARTS)
    named = re.search(r"^native_parts := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    assert sorted(named[1].split()) == sorted(native.PARTS)


def test_every_source_belongs_to_one_part_and_every_header_to_some() -> None:
    every = [source for part in setup.PARTS for source in sources(part)]
    assert sorted(every) == sorted(str(path.relative_to(KERNELS).with_suffix("")) for path in KERNELS.glob("*/*.cpp"))
    read = {path for source in every for path in setup.sources_of(KERNELS / f"{source}.cpp")}
    assert read == {*KERNELS.glob("*/*.cpp"), *KERNELS.glob("*/*.h")}


def test_headers_are_found_through_headers_and_through_macros(tmp_path: Path) -> None:
    (tmp_path / "a.cpp").write_text('#define LOOPS "loops.h"\n#include "first.h"\n#include <system.h>\n')
    (tmp_path / "first.h").write_text('#include "second.h"\n#include "first.h"\n#include "not_there.h"')
    for name in ("loops.h", "second.h", "system.h"):
        (tmp_path / name).write_text("")
    assert [p.name for p in setup.sources_of(tmp_path / "a.cpp")] == ["a.cpp", "first.h", "loops.h", "second.h"]


# ---------------------------------------------------------------- names of content


def test_a_digest_stands_for_every_setting_name_and_byte(tmp_path: Path) -> None:
    a, b = tmp_path / "a.h", tmp_path / "b.h"
    a.write_text("1")
    b.write_text("2")
    first = setup.digest(["-O3", "g++ 12"], [a, b])
    assert setup.digest(["-O3", "g++ 12"], [a, b]) == first
    others = [
        setup.digest(*what) for what in ((["-O2", "g++ 12"], [a, b]), (["-O3g++ 12"], [a, b]), (["-O3", "g++ 12"], [a]))
    ]
    b.write_text("3")
    others.append(setup.digest(["-O3", "g++ 12"], [a, b]))
    b.rename(tmp_path / "c.h")
    others.append(setup.digest(["-O3", "g++ 12"], [a, tmp_path / "c.h"]))
    assert len({first, *others}) == 6


def test_a_library_that_was_damaged_is_not_found(tmp_path: Path) -> None:
    library, folder = tmp_path / "new", tmp_path / "kept"
    library.write_bytes(b"whole")
    assert setup.find(folder, "pool", "key") is None
    setup.keep(folder, "pool", "key", library)
    kept = setup.find(folder, "pool", "key")
    assert kept.read_bytes() == b"whole"
    assert setup.find(folder, "pool", "other") is None
    assert setup.find(folder, "norm", "key") is None
    replace(kept, b"who")
    assert setup.find(folder, "pool", "key") is None


def test_only_the_newest_libraries_of_a_part_are_kept(tmp_path: Path) -> None:
    library = tmp_path / "new"
    for number in range(setup.KEPT + 3):
        library.write_bytes(bytes([number]))
        setup.keep(tmp_path / "kept", "pool", f"key{number}", library)
        setup.keep(tmp_path / "kept", "norm", "key", library)
    assert len(list((tmp_path / "kept").glob("pool-*"))) == setup.KEPT
    assert setup.find(tmp_path / "kept", "pool", f"key{setup.KEPT + 2}") is not None


def test_a_file_is_placed_whole_or_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            setup.place(tmp_path / "new", tmp_path / "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    assert (tmp_path / "old").read_bytes() == b"old"
    setup.place(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new"


def test_a_library_that_runs_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    """A process has the file in its memory: what is written into it takes the addresses of its functions away."""
    target = tmp_path / "used"
    (tmp_path / "new").write_bytes(b"first")
    setup.place(tmp_path / "new", target)
    with target.open("rb") as running:
        (tmp_path / "new").write_bytes(b"other")
        setup.place(tmp_path / "new", target)
        assert running.read() == b"first"
    assert target.read_bytes() == b"other"
    assert stat.S_IMODE(target.stat().st_mode) == 0o555, "cp writes into a file that may be written into"


# ---------------------------------------------------------------- a project of two parts


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that builds two tiny parts, and returns which were compiled. The compiler is ours."""
    folder = tmp_path / "src" / "bitspike" / "kernels"
    folder.mkdir(parents=True)
    for part in ("good", "other"):
        (folder / f"{part}.cpp").write_text(f'#include "{part}.h"')
        (folder / f"{part}.h").write_text("1")
    monkeypatch.chdir(tmp_path)

    def build(*, version: str = "12", fails: str = "", editable: bool = True) -> list[str]:
        compiled: list[str] = []

        def compile_part(self: Any, ext: Extension, scratch: str, library: Path) -> None:
            part = ext.name.rpartition(".")[2]
            if part == fails:
                raise CompileError("no")
            compiled.append(part)
            library.write_text("".join(path.read_text() for path in setup.sources_of(Path(ext.sources[0]))))

        monkeypatch.setattr(setup, "version_of", lambda _: version)
        monkeypatch.setattr(setup.Libraries, "compile", compile_part)
        parts = [
            Extension(f"bitspike.kernels.{part}", [f"src/bitspike/kernels/{part}.cpp"], optional=True)
            for part in ("good", "other")
        ]
        settings = {"name": "x", "packages": ["bitspike.kernels"], "package_dir": {"": "src"}, "ext_modules": parts}
        command = setup.Libraries(Distribution(settings))
        command.editable_mode = editable
        command.ensure_finalized()
        command.run()
        return sorted(compiled)

    return build


def test_what_has_not_changed_is_not_compiled_again(install: Callable[..., list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "src" / "bitspike" / "kernels"
    assert install() == ["good", "other"]
    assert (folder / "good.native").read_text() == '#include "good.h"1'
    assert install() == []
    replace(folder / "good.native", b"half")
    assert install(editable=False) == [], "a wheel takes them from the same place"
    assert install() == []
    assert (folder / "good.native").read_text() == '#include "good.h"1'


def test_a_changed_header_and_another_compiler_are_compiled_anew(
    install: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "src" / "bitspike" / "kernels"
    install()
    (folder / "good.h").write_text("2")
    assert install() == ["good"]
    assert (folder / "good.native").read_text() == '#include "good.h"2'
    assert install(version="13") == ["good", "other"]
    assert install(version="12") == [], "both are kept"


@pytest.mark.parametrize("editable", [True, False])
def test_a_part_that_fails_takes_no_other_away_and_leaves_no_old_one(
    install: Callable[..., list[str]], tmp_path: Path, editable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    install(editable=editable)
    for part in ("good", "other"):
        (tmp_path / "src" / "bitspike" / "kernels" / f"{part}.h").write_text("2")
    assert install(fails="good", editable=editable) == ["other"]
    found = {path.name: path.read_text() for path in tmp_path.rglob("*.native") if "-" not in path.name}
    assert found == {"other.native": '#include "other.h"2'}
    assert 'building extension "bitspike.kernels.good" failed: no' in caplog.text


# ---------------------------------------------------------------- what other compilers read otherwise


def test_vectors_at_any_address_are_typedefs() -> None:
    """Where a `using` asks for less than a vector's alignment, clang 14 keeps all of it; a load then crashes."""
    sources = sorted([*KERNELS.glob("*/*.h"), *KERNELS.glob("*/*.cpp")])
    text = {path.relative_to(KERNELS).as_posix(): path.read_text() for path in sources}
    loose = {name: re.findall(r"(\w+) [^;\n]*__attribute__\(\([^;\n]*\baligned\(", code) for name, code in text.items()}
    assert {word for words in loose.values() for word in words} == {"typedef"}, loose
