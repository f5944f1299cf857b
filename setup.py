"""The native parts, built where there is a compiler; everything else stands in pyproject.toml.

They are plain libraries for ctypes, not Python modules, so one name serves every Python. Each is optional: without a
compiler, or where compiling fails, the package installs all the same and runs through plain torch.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path("src/bitspike/kernels")
PARTS = ("neuron", "norm", "activation", "pool", "bits", "engine")


class PlainLibrary(build_ext):
    """Give a library a name that no Python takes for a module."""

    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', '/')}.native"


setup(
    cmdclass={"build_ext": PlainLibrary},
    ext_modules=[
        Extension(
            f"bitspike.kernels.{part}",
            sources=[str(HERE / f"{part}.cpp")],
            depends=sorted(str(header) for header in HERE.glob("*.h")),
            language="c++",
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-fopenmp",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-Wno-psabi",
                "-Wno-maybe-uninitialized",
                "-g0",
            ],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
        for part in PARTS
        if (HERE / f"{part}.cpp").is_file()
    ],
)
