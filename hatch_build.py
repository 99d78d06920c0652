"""Build hook: compiles every ``harness/**/_speed.pyx``.

An editable installation gets the extensions beside their sources, a wheel gets them inside. Where they cannot be built
(no compiler, no Cython, HARNESS_PURE set) the installation is a pure one: the same modules in Python, and slower.
"""

from __future__ import annotations

import os
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        self.work = Path(tempfile.mkdtemp(prefix="harness-build-"))
        try:
            built = compiled(root, self.work)
        except (Exception, SystemExit) as error:  # whatever ails a compiler: it is optional
            self.app.display_warning(f"harness: pure Python, nothing compiled: {error}".splitlines()[0])
            built = []
        if version == "editable":
            for outdated in root.glob("harness/**/_speed.*.so"):
                outdated.unlink()
            for extension in built:
                in_place(extension, root / extension.relative_to(self.work))
        elif built:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            for extension in built:
                build_data["force_include"][str(extension)] = str(extension.relative_to(self.work))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self.work, ignore_errors=True)


def in_place(extension: Path, target: Path) -> None:
    """Beside its source, by a rename: nobody ever sees half of it."""
    fresh = target.with_name(target.name + ".new")
    shutil.copy(extension, fresh)
    fresh.replace(target)


def compiled(root: Path, work: Path) -> list[Path]:
    """The extension modules, in `work` at their places in the package. Raises what Cython and setuptools raise."""
    if os.environ.get("HARNESS_PURE"):
        raise RuntimeError("HARNESS_PURE is set")
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    os.chdir(root)
    sources = [path.relative_to(root) for path in sorted(root.glob("harness/**/_speed.pyx"))]
    digest = runpy.run_path("harness/etf/compiled.py")["digest"]
    optimised = ["-O3", "-g0"] if os.name == "posix" else []
    modules = cythonize(
        [
            Extension(
                ".".join(path.with_suffix("").parts),
                [str(path)],
                define_macros=[("HARNESS_SOURCES", f"{digest(path.parent)}u")],
                extra_compile_args=optimised,
            )
            for path in sources
        ],
        build_dir=str(work / "c"),
        quiet=True,
    )
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = str(work)
    command.build_temp = str(work / "o")
    command.ensure_finalized()
    command.run()
    return [Path(path) for path in command.get_outputs()]
