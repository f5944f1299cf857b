"""The native time loop, built where there is a compiler; everything else stands in pyproject.toml.

It is a plain library for ctypes, not a Python module, so one name serves every Python. It is optional: without a
compiler, or where compiling fails, the package installs all the same and runs through plain torch.
"""

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class PlainLibrary(build_ext):
    """Give the library a name that no Python takes for a module."""

    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', '/')}.native"


setup(
    cmdclass={"build_ext": PlainLibrary},
    ext_modules=[
        Extension(
            "bitspike.kernels.neuron",
            sources=["src/bitspike/kernels/neuron.cpp"],
            language="c++",
            extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno"],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ],
)
