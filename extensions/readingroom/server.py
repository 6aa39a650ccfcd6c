"""A researcher's JupyterLab: JupyterHub's single-user server on an inherited socket, keeping its token to itself.

Started as `python -I -m readingroom.server` (isolated: no code from the home runs in this process), with one JSON
object on standard input: `listen_fd`, the listening socket, and `api_token`. Kernels and terminals are children of this
process; they get its environment, where the token never is, and cannot look into it."""

import ctypes
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, Self

from jupyter_server.serverapp import ServerApp
from jupyterhub.singleuser.extension import JupyterHubSingleUser
from traitlets.config import Config

from readingroom import saved, settings

TUTORIALS = Path("/opt/readingroom/notebooks")
LAB_SETTINGS = Path(__file__).with_name("lab_settings")
"""Holds `overrides.json`: what JupyterLab does here unless the user says otherwise."""
EXPORT_TEMPLATES = Path(__file__).with_name("export_templates")
"""Holds `readingroom`: a notebook as HTML whose pictures keep their alternative texts."""
_PR_SET_DUMPABLE = 4
IMAGE_BYTES_PER_SECOND = 1e9
"""Jupyter's own limit of 1 MB/s stops an image viewer after its first slices."""


class SocketServerApp(ServerApp):
    """ServerApp on an inherited listening socket, that writes its token into no file."""

    listener: socket.socket

    @classmethod
    def on(cls, listener: socket.socket) -> type[Self]:
        """The class for one listening socket."""
        cls.listener = listener
        return cls

    def _find_http_port(self) -> None:
        pass

    def _bind_http_server(self) -> None:
        self.http_server.add_socket(self.listener)

    def find_server_extensions(self) -> None:
        """Those that are installed, and the one that serves pictures past a busy kernel."""
        super().find_server_extensions()
        self.jpserver_extensions = {**self.jpserver_extensions, "readingroom.picture_server": True}

    def write_server_info_file(self) -> None:
        """Nothing: the file would hold the token, in the home."""

    def write_browser_open_files(self) -> None:
        """Nothing: these files would hold the token, too."""


def keep_to_itself() -> None:
    """Close /proc/<pid> of this process to others of the same user: memory, environment, descriptors (proc(5))."""
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError("this process could not be closed to others")


def configuration(token: str) -> Config:
    """What differs from JupyterHub's defaults."""
    return Config(
        {
            "HubAuth": {"api_token": token},
            "ServerApp": {
                # Otherwise written to a file that kernels can read.
                "cookie_secret": os.urandom(32),
                "root_dir": str(Path.home()),
                "terminals_enabled": True,
                "allow_root": False,
            },
            "FileContentsManager": {"pre_save_hook": keep_no_pictures} if settings.pictures() == "none" else {},
            # Not from the folder that the server was started in, which is nbconvert's default: a template is code.
            "TemplateExporter": {"extra_template_basedirs": [str(EXPORT_TEMPLATES)]},
            "HTMLExporter": {"template_name": "readingroom"},
            # These are HTMLExporters, too.
            "SlidesExporter": {"template_name": "reveal"},
            "WebPDFExporter": {"template_name": "webpdf"},
            "ZMQChannelsWebsocketConnection": {"iopub_data_rate_limit": IMAGE_BYTES_PER_SECOND},
            # These would ask the internet, and start npm.
            "LanguageServerManager": {"autodetect": False},
            "LabApp": {
                "news_url": None,
                "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
                "extension_manager": "readonly",
                "app_settings_dir": str(LAB_SETTINGS),
            },
            "JupyterNotebookApp": {"app_settings_dir": str(LAB_SETTINGS)},
        }
    )


def keep_no_pictures(model: dict[str, Any], **_: Any) -> None:
    """Jupyter's hook before a notebook is saved."""
    if model.get("type") == "notebook":
        saved.without_pictures(model.get("content"))


def furnish(home: Path, tutorials: Path = TUTORIALS) -> None:
    """On a home's first day: a copy of the tutorial notebooks, and links to what is mounted elsewhere."""
    for name, target in (("data", "/data"), ("shared", "/project")):
        link = home / name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(target)
    copy = home / "tutorials"
    if tutorials.is_dir() and not copy.exists():
        shutil.copytree(tutorials, copy)


def main() -> None:
    """The process."""
    keep_to_itself()
    given: dict[str, Any] = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    listener = socket.socket(fileno=int(given["listen_fd"]))
    listener.setblocking(False)
    listener.set_inheritable(False)
    furnish(Path.home())
    JupyterHubSingleUser.serverapp_class = SocketServerApp.on(listener)
    app = JupyterHubSingleUser.initialize_server(argv=sys.argv[1:], config=configuration(str(given["api_token"])))
    del given
    app.start()


if __name__ == "__main__":
    main()
