"""What of this machine is seen inside a sandbox: the system, this Python, the untrusted wing; never the trusted one."""

import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import readingroom_hub
from readingroom_hub.errors import SystemUnfit
from readingroom_hub.ports.mounts import CONTENT
from readingroom_hub.sandbox.bubblewrap import DOOR, HOME, HOMES, PROJECT, PROJECTS, VOLUME, Bind, Sandbox

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives",
    "bash.bashrc",
    "fonts",
    "inputrc",
    "ld.so.cache",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "protocols",
    "python3",
    "python3.11",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
)
"""Of /etc only what programs need to run; nothing there may be secret."""
OWN_ETC = Path(__file__).with_name("etc")
NOTEBOOKS = "/opt/readingroom/notebooks"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one server, on the host. `home` and `project` are the outer folders of vaults."""

    home: str
    project: str
    door: str
    volume: str
    clear_project: str | None = None
    """In place of `project`, where a server from before there were vaults still writes there."""


def _wing() -> Path:
    """The untrusted wing. Found without importing it: the wings never import each other."""
    from importlib.util import find_spec

    spec = find_spec("readingroom")
    if spec is None or not spec.origin:
        raise SystemUnfit("the package `readingroom` is not installed beside `readingroom_hub`: run `make install`")
    return Path(spec.origin).parent


def notebooks() -> Path | None:
    """The tutorial notebooks: of a checkout, or where the container image has them."""
    folders = (Path(readingroom_hub.__file__).parents[2] / "notebooks", Path(NOTEBOOKS))
    return next((f for f in folders if f.is_dir()), None)


def prefixes() -> list[Path]:
    """Where this Python and its packages are: the virtual environment and the interpreter below it."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve()}
    found |= {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return [p for p in sorted(found) if not _below(p, (Path("/usr"), *(found - {p})))]


def _below(path: Path, parents: Iterable[Path]) -> bool:
    return any(path.is_relative_to(p) for p in parents)


def _system() -> list[Bind]:
    binds = [Bind(p, p) for p in SYSTEM if Path(p).is_dir() and not Path(p).is_symlink()]
    binds += [Bind(f"/etc/{name}", f"/etc/{name}") for name in ETC if Path("/etc", name).exists()]
    return binds + [Bind(str(p), f"/etc/{p.name}") for p in sorted(OWN_ETC.iterdir())]


def _python() -> list[Bind]:
    wing, book = _wing(), notebooks()
    binds = [Bind(str(p), str(p)) for p in prefixes()]
    if not _below(wing, (Path(b.target) for b in binds)):
        binds.append(Bind(str(wing), str(wing)))
    return binds + ([Bind(str(book), NOTEBOOKS)] if book else [])


def _masks(binds: Iterable[Bind]) -> list[str]:
    trusted = Path(readingroom_hub.__file__).parent
    return [str(trusted)] if _below(trusted, (Path(b.target) for b in binds)) else []


def environment() -> dict[str, str]:
    """What is the same in every server. Nothing secret: everybody inside can read it."""
    return {
        "HOME": HOME,
        "HOSTNAME": "readingroom",
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",  # noqa: S108  # the sandbox's own
        "LANG": "C.UTF-8",
        "LOGNAME": "researcher",
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "READINGROOM_HUB_SOCKET": f"{DOOR}/hub.sock",
        "SHELL": "/bin/bash",
        "TERM": "xterm-256color",
        "USER": "researcher",
    }


def build(places: Places, argv: Iterable[str], env: dict[str, str], state: Path) -> Sandbox:
    """The sandbox of one server. Raises SystemUnfit where the state folder would be seen in it."""
    system = everyones()
    for bind in system:
        if _below(state.resolve(), (Path(bind.source).resolve(),)):
            raise SystemUnfit(
                f"the state folder {state} lies in {bind.source}, which every server can read: set READINGROOM_STATE "
                "to a folder elsewhere, for example /var/lib/readingroom"
            )
    own = [Bind(places.home, HOMES, below=True), Bind(places.door, DOOR), Bind(places.volume, VOLUME)]
    if places.clear_project is None:
        own.append(Bind(places.project, PROJECTS, below=True))
        shared = (f"{PROJECTS}/{CONTENT}/project", PROJECT)
    else:
        own.append(Bind(places.clear_project, PROJECTS, writable=True))
        shared = (PROJECTS, PROJECT)
    return Sandbox(
        argv=tuple(argv),
        binds=(*system, *own),
        env=environment() | env,
        symlinks=(*links(), (f"{VOLUME}/data", "/data"), shared),
        masks=tuple(_masks(system)),
    )


def everyones() -> tuple[Bind, ...]:
    """What is the same in every sandbox."""
    return (*_system(), *_python())


def links() -> tuple[tuple[str, str], ...]:
    """/bin -> usr/bin and its like, where the system merged them."""
    return tuple((str(Path(p).readlink()), p) for p in SYSTEM if Path(p).is_symlink())
