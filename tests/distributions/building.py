"""Builds the two distributions from a copy of their sources, and installs them into new environments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

# The input of setuptools. A copy leaves the checkout unchanged, and excludes leftovers of earlier builds.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", "tests", "examples", "benchmarks")
# Long enough for a busy machine; a build takes some seconds.
TIMEOUT = 100


@dataclass(frozen=True)
class Built:
    """A built distribution."""

    wheel: Path
    sdist: Path

    def in_wheel(self) -> set[str]:
        """The paths in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def in_sdist(self) -> set[str]:
        """The files in the sdist, without its one top-level folder."""
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}

    def metadata(self) -> str:
        """The ``METADATA`` of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return archive.read(name).decode()


def build(project: Path, folder: Path) -> Built:
    """Build sdist, and from it the wheel: so that what the sdist lacks the wheel lacks too."""
    copy = folder / "sources"
    copy.mkdir(parents=True)
    for name in SOURCES:
        source = project / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", ".*"))
        elif source.exists():
            shutil.copy(source, copy / name)
    # As in a checkout in which the program has run.
    for source in [*copy.glob("src/**/*.py")]:
        leave_bytecode(source)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy), cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return Built(wheel, sdist)


def leave_bytecode(source: Path) -> None:
    """Create the bytecode file that importing ``source`` creates."""
    cache = source.parent / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / f"{source.stem}.{sys.implementation.cache_tag}.pyc").write_bytes(b"bytecode")


@dataclass(frozen=True)
class Installed:
    """A virtual environment with one distribution. Its dependencies are those of the tests: no network is needed."""

    folder: Path

    def python(self, *arguments: str) -> str:
        """Output of this Python, run outside the checkout."""
        return run(str(self.folder / "bin" / "python"), "-I", *arguments, cwd=self.folder)

    def command(self, name: str, *arguments: str) -> str:
        """Output of an installed command."""
        return run(str(self.folder / "bin" / name), *arguments, cwd=self.folder)


def install(archive: Path, folder: Path) -> Installed:
    """Install a wheel or an sdist and nothing else into a new environment in ``folder``."""
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    # A path in a .pth file is searched last, and .pth files in it are not read: the editable install of the checkout
    # is not visible.
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site_packages) / "dependencies.pth").write_text("\n".join(sorted(dependencies)) + "\n", "utf-8")
    # pip sees the metadata of the editable install: it must not take it for the requested package.
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
    run(*(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *offline, str(archive)), cwd=folder)
    return Installed(folder)


def run(*command: str, cwd: Path) -> str:
    """Standard output of ``command``, which must succeed, in a clean environment."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
