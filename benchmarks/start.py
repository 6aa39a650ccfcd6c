"""How long people wait: from `make demo` to a sign-in page, and from the click on Start to a usable JupyterLab.

The peer is plain JupyterHub with the same proxy and JupyterLab, anybody's password, local processes, no sandbox, no
record and no data: what the safety around a server costs in seconds. Both sides in turn, medians of `--rounds`."""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from readingroom_hub.config import executable
from readingroom_hub.demo.browser import Visitor, chromium, until
from readingroom_hub.demo.room import DemoRoom, demo_settings
from readingroom_hub.embedded.processes import url_answers

REPOSITORY = Path(__file__).parents[1]
PORT = 22443
PEER = """
c.JupyterHub.bind_url = "https://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = "{cert}", "{key}"
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikProxy.traefik_api_url = "http://127.0.0.1:{api}"
c.TraefikProxy.traefik_api_username, c.TraefikProxy.traefik_api_password = "hub", "benchmark"
c.TraefikProxy.traefik_env = {{"PATH": "{traefik}"}}
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "benchmark-of-start"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home"
c.Spawner.args = ["--allow-root"]
"""


@contextmanager
def process(command: list[str], folder: Path) -> Iterator[None]:
    """A process with its log, ended gently."""
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)


def seconds(action: Callable[[], None]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def peer_command(folder: Path, tls: tuple[Path, Path]) -> list[str]:
    (folder / "home").mkdir(exist_ok=True)
    config = folder / "jupyterhub_config.py"
    config.write_text(
        PEER.format(
            port=PORT + 50,
            hub=PORT + 51,
            api=PORT + 52,
            cert=tls[0],
            key=tls[1],
            folder=folder,
            traefik=Path(executable("traefik")).parent,
        )
    )
    return [sys.executable, "-m", "jupyterhub", "--config", str(config)]


def our_start(state: Path) -> tuple[float, float]:
    """Seconds to the sign-in page, and from Start to JupyterLab."""
    settings = demo_settings(state, PORT)
    demo = ["demo", "--port", str(PORT), "--state", str(state.parent)]
    command = [sys.executable, "-m", "readingroom_hub.cli.main", *demo]
    page = url_answers(settings.public_url + "/hub/login")
    with process(command, state.parent):
        to_page = seconds(lambda: until(page, "the sign-in page is there", 120))
        room = DemoRoom(settings, print, print, REPOSITORY / ".venv-idp")
        until(url_answers(room.settings.oidc_issuer + "/.well-known/openid-configuration"), "the provider answers")
        rosa = next(p for p in room.provider.people() if p.user_name == "rosa")
        with chromium() as browser:
            visitor = Visitor(browser, settings.public_url, rosa)
            visitor.sign_in()
            to_lab = seconds(lambda: visitor.start_server("chest-ct"))
    return to_page, to_lab


def their_start(folder: Path, tls: tuple[Path, Path]) -> tuple[float, float]:
    url = f"https://localhost:{PORT + 50}"
    with process(peer_command(folder, tls), folder):
        to_page = seconds(lambda: until(url_answers(url + "/hub/login"), "the peer's sign-in page is there", 120))
        with chromium() as browser:
            page = browser.new_context(ignore_https_errors=True).new_page()
            page.set_default_timeout(60_000)
            page.goto(url + "/hub/login?next=/hub/home")
            page.fill("input[name=username]", "rosa")
            page.fill("input[name=password]", "benchmark-of-start")
            page.keyboard.press("Enter")
            page.wait_for_selector("#start")

            def start() -> None:
                page.click("#start")
                page.wait_for_url(re.compile("/user/rosa/lab"))
                page.wait_for_selector(".jp-FileBrowser", state="visible")

            to_lab = seconds(start)
            page.goto(url + "/hub/home")
            page.click("#stop")
            page.wait_for_selector("#start:not(.hidden)")
    return to_page, to_lab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rr-start-", dir="/var/tmp"))
    state, peer = folder / "demo", folder / "peer"
    peer.mkdir()
    try:
        (folder / ".venv-idp").symlink_to(REPOSITORY / ".venv-idp")
        our_start(state)  # the first start takes the demo's data in; what is measured is every start after it
        pair = (next(state.rglob("server.crt")), next(state.rglob("server.key")))
        rounds = [(our_start(state), their_start(peer, pair)) for _ in range(args.rounds)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = []
    for place, name in enumerate(("demo-to-sign-in-page", "start-to-jupyterlab")):
        ours = statistics.median(ours[place] for ours, _ in rounds)
        theirs = statistics.median(theirs[place] for _, theirs in rounds)
        rows.append(
            {
                "measure": name,
                "unit": "s",
                "ours": round(ours, 2),
                "peer": round(theirs, 2),
                "peer_name": "plain JupyterHub, local processes",
                "ratio": round(theirs / ours, 2),
            }
        )
        print(f"{name}: {ours:.1f} s, plain JupyterHub {theirs:.1f} s, x{theirs / ours:.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
