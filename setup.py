"""The native parts, built where there is a compiler; everything else stands in pyproject.toml.

They are plain libraries for ctypes, not Python modules, so one name serves every Python. Each is optional: without a
compiler, or where compiling one fails, the package installs all the same and that part runs through plain torch.

Sources compile side by side, as many as there are processors. A library is kept under ``build/native``, named after
everything it was made from and after its own content, so that it is compiled once, and a name never lies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

HERE = Path("src/bitspike/kernels")
PARTS = ("neuron", "activation", "engine", "norm", "pool", "bits")  # the longest to compile first
SOURCES = {"engine": ("engine/engine",), "neuron": ("cpp/neuron_backward", "cpp/neuron")}  # of any other part: cpp/PART
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fopenmp",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wno-psabi",
    "-Wno-maybe-uninitialized",
    "-g0",
]
KEPT = 4  # libraries of one part: switching between a few compilers or branches compiles nothing


def sources_of(source: Path) -> list[Path]:
    """Return a source and the headers of its folder that it names, or that one of these names, in order of name."""
    found, waiting = set(), [source]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            waiting += [path.with_name(name) for name in re.findall(r'"(\w+\.h)"', path.read_text(encoding="utf-8"))]
    return sorted(found)


def digest(settings: Sequence[str], files: Iterable[Path]) -> str:
    """Return what stands for settings and for the names and contents of files: 16 hexadecimal digits."""
    parts = [text.encode() for text in settings]
    for path in files:
        parts += [path.name.encode(), path.read_bytes()]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)  # with their lengths: no two lists run together
    return whole.hexdigest()[:16]


def place(source: Path, target: Path) -> None:
    """Copy a file so that the target is the old one or the new one, whole, whatever happens and whoever else writes.

    Who writes *into* a library takes the memory of every process that runs it: they end with a segmentation fault, even
    where the content is the same. So the target is another file under the old name, and nobody may write into it.
    """
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o555)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def content_of(path: Path) -> str:
    """Return what stands for the content of a file: 16 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def find(folder: Path, part: str, made_from: str) -> Path | None:
    """Return the kept library of a part that was made from this, if its content is what its name says."""
    kept = sorted(folder.glob(f"{part}-{made_from}-*.native"))
    return next((path for path in kept if path.stem.rpartition("-")[2] == content_of(path)), None)


def keep(folder: Path, part: str, made_from: str, library: Path) -> None:
    """Keep a library of a part, and only the newest few of them."""
    place(library, folder / f"{part}-{made_from}-{content_of(library)}.native")
    newest_first = sorted(folder.glob(f"{part}-*.native"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[KEPT:]:
        path.unlink(missing_ok=True)


@cache
def version_of(compiler: str) -> str:
    """Return what a compiler, given as for a shell, says about itself; one that cannot be run is an error."""
    try:
        answer = subprocess.run([*shlex.split(compiler), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CompileError(f"the compiler cannot be run: {compiler}: {error}") from error
    return answer.stdout


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Libraries(build_ext):
    """Compile plain libraries side by side, each once."""

    def get_ext_filename(self, fullname: str) -> str:
        """Give a library a name that no Python takes for a module."""
        return f"{fullname.replace('.', '/')}.native"

    def build_extensions(self) -> None:
        """Give each library a thread that waits, and each processor a source that compiles, the longest first."""
        with ThreadPoolExecutor(self.parallel or processors()) as self.compiling:
            self.turn = threading.Lock()  # threads start in the order of the parts, and keep it
            self.parallel = max(2, len(self.extensions))
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Find the library of a part, or compile it; of an older one nothing is left in either case."""
        part = ext.name.rpartition(".")[2]
        folder = Path(self.get_finalized_command("build").build_base, "native")
        target = Path(self.get_ext_fullpath(ext.name))
        target.unlink(missing_ok=True)
        with self.turn:
            made_from = self.made_from(ext)
        library = find(folder, part, made_from)
        if library is not None:
            self.announce(f"{part}: as compiled before", level=2)
            place(library, target)
            return
        with tempfile.TemporaryDirectory() as scratch:
            library = Path(scratch, f"{part}.native")
            self.compile(ext, scratch, library)
            try:
                keep(folder, part, made_from, library)
            except OSError as error:
                self.warn(f"{part} will be compiled again next time, as {folder} cannot be written: {error}")
            place(library, target)

    def made_from(self, ext: Extension) -> str:
        """Return what stands for everything that a library is made from."""
        names = ("compiler_so_cxx", "linker_so_cxx")  # only compilers of Unix have them, and understand the flags
        commands = [shlex.join(getattr(self.compiler, name, None) or ["no C++ compiler"]) for name in names]
        settings = [sysconfig.get_platform(), *commands, *map(version_of, commands[:1])]
        settings += [shlex.join(ext.extra_compile_args), shlex.join(ext.extra_link_args)]
        return digest(settings, sorted({path for source in ext.sources for path in sources_of(Path(source))}))

    def compile(self, ext: Extension, scratch: str, library: Path) -> None:
        """Compile the sources of a library side by side, and link them."""
        waiting = [
            self.compiling.submit(
                self.compiler.compile, [source], output_dir=scratch, extra_postargs=ext.extra_compile_args
            )
            for source in ext.sources
        ]
        objects = [name for names in waiting for name in names.result()]
        self.compiler.link_shared_object(
            objects, str(library), extra_postargs=ext.extra_link_args, build_temp=scratch, target_lang="c++"
        )

    def copy_extensions_to_source(self) -> None:
        """Put the libraries of an editable installation into the package; what could not be made is not there."""
        folder = Path(self.get_finalized_command("build_py").get_package_dir("bitspike.kernels"))
        for ext in self.extensions:
            built = Path(self.build_lib, self.get_ext_filename(ext.name))
            target = folder / built.name
            if built.is_file():
                place(built, target)
            else:
                target.unlink(missing_ok=True)


if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": Libraries},
        ext_modules=[
            Extension(
                f"bitspike.kernels.{part}",
                sources=[str(HERE / f"{source}.cpp") for source in SOURCES.get(part, (f"cpp/{part}",))],
                depends=sorted(str(header) for header in HERE.glob("*/*.h")),
                language="c++",
                extra_compile_args=FLAGS,
                extra_link_args=["-fopenmp"],
                optional=True,
            )
            for part in PARTS
        ],
    )
