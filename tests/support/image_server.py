"""Runs inside the researcher's image, as a script: what a door does for a server, and the smallest hub.

Starts the command it is given, asks the server for its version through the listening socket, and prints the answer."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import jupyterhub

HUB, SERVER = Path("/tmp/hub.sock"), Path("/tmp/server.sock")
PREFIX = "/user/u-1/chest-ct/"
API = f"http+unix://{str(HUB).replace('/', '%2F')}/hub/api"
ENVIRON = {
    "JUPYTERHUB_ACTIVITY_URL": f"{API}/users/u-1/activity",
    "JUPYTERHUB_API_URL": API,
    "JUPYTERHUB_BASE_URL": "/",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-u-1",
    "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
    "JUPYTERHUB_SERVER_NAME": "chest-ct",
    "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
    "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:0{PREFIX}",
    "JUPYTERHUB_USER": "u-1",
}


class Listener(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer({"version": jupyterhub.__version__})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def _answer(self, body):
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", jupyterhub.__version__)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(SERVER))


def get(path):
    connection = Connection("localhost")
    connection.request("GET", path)
    answer = connection.getresponse()
    return [answer.status, answer.read().decode()]


def main():
    hub = Listener(str(HUB), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SERVER))
        listener.listen()
        given = json.dumps({"listen_fd": listener.fileno(), "api_token": "a-token-of-this-test"}).encode()
        server = subprocess.Popen(
            sys.argv[1:],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            env=dict(os.environ) | ENVIRON,  # noqa: TID251  # not ours
        )
        try:
            server.stdin.write(given)
            server.stdin.close()
            answers = {"api": get(f"{PREFIX}api"), "lab": get(f"{PREFIX}lab")[0]}
        finally:
            server.kill()  # Jupyter may miss a SIGTERM that comes while it writes to its log
            server.wait()
    print(json.dumps(answers | {"home": sorted(p.name for p in Path.home().iterdir())}))


main()
