"""A papermill engine whose kernel is sealed, inherits no environment, and talks over unix sockets."""

import copy
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from readingroom import settings

ENGINE = "readingroom-sealed"
_PACKAGES = Path(__file__).parents[2]
"""The folder that holds this package, which need not be site-packages."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys/devices/system", "/opt")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108  a device, not a file


@dataclass(slots=True)
class SealedRun:
    """One run's places, limits, and afterwards its notebook as the kernel left it."""

    data: Path
    """The folder of the one dataset that may be read, resolved."""
    room: Path
    """A short private folder: sockets, home, and a data root that names only this dataset."""
    files: Path
    """The notebook's working folder; what it writes stays there."""
    log: Path
    """What the kernel process itself says, for example why it could not start."""
    timeout: int | None
    notebook: Any = field(default=None)
    reached: int | None = None
    """Number of the last cell that was sent to the kernel, from 1."""

    def reach(self, *, cell_index: int, **_: Any) -> None:
        """Note the cell that is being sent: a killed kernel may not live to announce it."""
        self.reached = cell_index + 1

    def environment(self) -> dict[str, str]:
        """All that the kernel's environment holds: no token, nothing of the server."""
        return {
            "PATH": settings.search_path(),
            "HOME": str(self.room / "home"),
            "TMPDIR": str(self.room / "home"),
            "IPYTHONDIR": str(self.room / "home"),
            "MPLCONFIGDIR": str(self.room / "home"),
            "JUPYTER_RUNTIME_DIR": str(self.room),
            "READINGROOM_DATA": str(self.room / "data"),
            "READINGROOM_PICTURES": settings.pictures(),
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            # The number of threads changes the order of sums, and so their last digits.
            "OMP_NUM_THREADS": "1",
            "SOURCE_DATE_EPOCH": "0",
            "TZ": "UTC",
            "LANG": "C.UTF-8",
        }

    def prepare(self, name: str) -> None:
        """Make the private folders and the data root with the one dataset `name`."""
        (self.room / "home").mkdir()
        (self.room / "data").mkdir()
        (self.room / "data" / name).symlink_to(self.data)
        self.files.mkdir()

    def kernel_manager(self) -> AsyncKernelManager:
        """A manager that starts this Python's ipykernel through `sealed`, whatever kernels a home folder declares."""
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(self.room / "k"))
        manager.connection_file = str(self.room / "kernel.json")
        # Set before it is asked for: kernel specifications are looked up in the user's home first.
        manager._kernel_spec = KernelSpec(argv=self._command(), display_name="sealed", language="python")  # noqa: SLF001
        return manager

    def _command(self) -> list[str]:
        python = [sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), _PACKAGES]
        readable = [*_SYSTEM, *python, self.room / "data", self.data]
        writable = [*_DEVICES, self.room, self.files]
        return [
            sys.executable, "-m", "readingroom.rerun.sealed",
            *(part for path in readable for part in ("--read", str(path))),
            *(part for path in writable for part in ("--write", str(path))),
            "--", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
        ]  # fmt: skip


class SealedEngine(Engine):  # type: ignore[misc]
    """Runs a notebook in a SealedRun, and keeps the notebook also when the run raises."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, sealed: SealedRun, **_: Any) -> None:
        """Execute. Whatever is raised, `sealed.notebook` is what the kernel had done by then.

        A copy, since papermill inserts cells into the notebook of a failed run."""
        client = PapermillNotebookClient(
            nb_man,
            km=sealed.kernel_manager(),
            kernel_name=kernel_name,
            timeout=sealed.timeout,
            startup_timeout=60,
            store_widget_state=False,
            on_cell_execute=sealed.reach,
        )
        try:
            with sealed.log.open("wb") as log:
                client.execute(env=sealed.environment(), cwd=str(sealed.files), stdout=log, stderr=log, cleanup_kc=True)
        finally:
            sealed.notebook = _without_claims(copy.deepcopy(nb_man.nb))


def _without_claims(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop papermill's own status: it calls the cells of a dead kernel `completed`, so nobody should read it."""
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
    return notebook


papermill_engines.register(ENGINE, SealedEngine)
