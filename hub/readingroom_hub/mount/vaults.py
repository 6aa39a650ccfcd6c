"""Keeper of vaults: homes and project folders under gocryptfs, each seen in clear only while it is open.

gocryptfs runs as a process of its own, so that a view outlives a restart of the mount daemon. It holds the vault's lock
(flock(2) on an inherited descriptor): who cannot take the lock knows that the vault is open, whoever opened it."""

import base64
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from readingroom_hub import durable, locks
from readingroom_hub.errors import Conflict, IntegrityError, StoreUnavailable, SystemUnfit
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId, VaultId
from readingroom_hub.mount import mounting
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.vaults import VaultKeys

FSTYPE = "fuse.gocryptfs"
SECONDS = 30
"""For gocryptfs to make or open a vault; it needs a tenth of one."""
LEAVE_SECONDS = 3
"""For it to end once nothing is in use; a home's loop device is let go a little after its server."""
_INFO = b"readingroom/vault/1\0"
_WRONG_PASSWORD = 12  # gocryptfs, internal/exitcodes


class Vaults:
    """Opens and closes vaults below `folder`: <vault>/ holds key.json, lock, log, cipher, and `outer`, the folder that
    servers bind, with the mount point `view` in it: a view that is opened anew reaches them."""

    def __init__(self, folder: Path, keys: VaultKeys, custody: KeyCustody) -> None:
        """Raises SystemUnfit where gocryptfs is missing."""
        program = shutil.which("gocryptfs")
        if program is None:
            raise SystemUnfit("gocryptfs is not installed (Debian package gocryptfs): homes cannot be encrypted")
        self._program = program
        self._folder = folder
        self._keys = keys
        self._custody = custody

    def open(self, vault: VaultId, others: bool = False, made: Callable[[WrappedKey], None] = lambda _: None) -> Path:
        """The folder that shows the vault in clear, made at first sight; an open vault stays as it is.

        `others`: accounts other than ours may enter, as far as the files' modes let them. `made` is told of a new key
        before it is kept. Raises what `made` raises; KeyUnavailable; IntegrityError where the key is not this vault's,
        or is lost; Conflict where the vault is still being left; StoreUnavailable where the disk is full or cannot be
        written. Not to be called beside a `close` of the same vault."""
        view = self.outer(vault) / "view"
        try:
            durable.make(self._folder / vault, 0o700)
            view.parent.mkdir(exist_ok=True)
            view.parent.chmod(0o711)  # the accounts of servers pass through
            lock = self._take(vault, LEAVE_SECONDS, or_mounted=True)
        except OSError as error:
            raise StoreUnavailable(f"the vault {vault} cannot be made: {error.strerror}") from error
        try:
            if lock is not None:
                passphrase = self._passphrase(vault, made)
                if self._mounted(vault):  # a killed gocryptfs leaves a mount that answers nothing
                    self._away(vault).touch()  # for who comes after us, if we are killed in between
                    self._leave(vault)
                for point in (self._first(vault), view):
                    point.mkdir(mode=0o700, exist_ok=True)
                self._run(vault, lock, passphrase, others)
            self._show(vault)
            self._away(vault).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the vault {vault} cannot be opened: {error.strerror}") from error
        finally:
            if lock is not None:
                os.close(lock)
        return view

    def close(self, vault: VaultId, seconds: float = LEAVE_SECONDS) -> None:
        """Take away the view, and what of it is mounted beside it; return once no process holds its key, waited for so
        long. Closing a closed vault is no error.

        Raises Conflict where somebody still uses files of it: they keep them, nothing written is lost, and a later
        call tries again."""
        if (self._folder / vault).is_dir():
            self._leave(vault)
            lock = self._take(vault, seconds)
            self._away(vault).unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)

    def open_ones(self) -> list[VaultId]:
        """Those that are seen in clear now, whoever opened them."""
        points = mounting.mount_points(self._folder, FSTYPE)
        return [VaultId(name) for name in sorted({point.relative_to(self._folder).parts[0] for point, _ in points})]

    def runs(self, vault: VaultId) -> bool:
        """Whether its gocryptfs runs, whoever started it. Not to be called beside an `open` or `close` of the vault."""
        try:
            os.close(locks.take(self._folder / vault / "lock", "taken"))
        except Conflict:
            return True
        except FileNotFoundError:  # it never ran
            pass
        return False

    def ended(self, vault: VaultId) -> bool:
        """Whether its gocryptfs ended although nobody closed the vault: who uses the view gets ENOTCONN from then on.
        Asks the view itself nothing. Not to be called beside an `open` or `close` of the same vault."""
        return not self.runs(vault) and (self._away(vault).exists() or self._mounted(vault))

    def log(self, vault: VaultId) -> Path:
        """Where its gocryptfs said what it had to say."""
        return self._folder / vault / "log"

    def outer(self, vault: VaultId) -> Path:
        """The folder that servers bind: nothing but mount points are in it."""
        return self._folder / vault / "outer"

    def _away(self, vault: VaultId) -> Path:
        return self._folder / vault / "away"

    def _take(self, vault: VaultId, seconds: float, or_mounted: bool = False) -> int | None:
        """The vault's lock, waited for while an earlier gocryptfs ends; None where the view is there and will do."""
        deadline = monotonic() + seconds
        while True:
            with suppress(Conflict):
                return locks.take(self._folder / vault / "lock", "taken")
            if or_mounted and self._mounted(vault):
                return None
            if monotonic() >= deadline:
                raise Conflict(f"files of the vault {vault} are still in use: end its server, then try again")
            sleep(0.005)

    def _first(self, vault: VaultId) -> Path:
        """Where gocryptfs mounts. As root not yet where servers see it: it looks at its own mount before it is ready,
        and hangs for ever where an account makes a file there meanwhile, since it takes on that account's identity with
        all its threads at once (gocryptfs 2.3; go-fuse's poll hack)."""
        return self._folder / vault / "view" if os.geteuid() == 0 else self.outer(vault) / "view"

    def _show(self, vault: VaultId) -> None:
        first, view = self._first(vault), self.outer(vault) / "view"
        if first != view and self._at(first):
            if not self._at(view):
                mounting.bind(first, view)
            mounting.leave(first)

    @staticmethod
    def _at(point: Path) -> bool:
        return any(p == point for p, _ in mounting.mount_points(point, FSTYPE))

    def _mounted(self, vault: VaultId) -> bool:
        return any(mounting.mount_points(self._folder / vault, FSTYPE))

    def _leave(self, vault: VaultId) -> None:
        for point, _ in reversed(list(mounting.mount_points(self._folder / vault))):  # an image of the view before it
            mounting.leave(point)

    def _passphrase(self, vault: VaultId, made: Callable[[WrappedKey], None]) -> bytes:
        """From the vault's key and name: custody may not bind the name, and a key moved to another vault opens none."""
        key, cipher = self._keys.get(vault), self._folder / vault / "cipher"
        if key is None:
            if cipher.exists():
                raise IntegrityError(f"the key of the vault {vault} is lost; restore {cipher.parent}/key.json")
            key = self._custody.wrap(KeyId.new(), secrets.token_bytes(32))
            made(key)
            self._keys.put(vault, key)
        secret = HKDF(SHA256(), 32, None, _INFO + vault.encode()).derive(self._custody.unwrap(key))
        return base64.b64encode(secret) + b"\n"

    def _run(self, vault: VaultId, lock: int, passphrase: bytes, others: bool) -> None:
        cipher, view = self._folder / vault / "cipher", self._first(vault)
        if not cipher.exists():
            fresh = cipher.with_name("cipher.new")  # made under another name: a killed one is no vault
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            # The passphrase has 256 random bits: scrypt has nothing to add.
            self._gocryptfs(vault, passphrase, ["-init", "-scryptn", "10", str(fresh)])
            durable.sync(fresh)
            fresh.rename(cipher)
            durable.sync(cipher.parent)
        options = ["-nosyslog", "-nosuid", "-nodev", "-fsname", vault, *(["-allow_other"] if others else [])]
        self._gocryptfs(vault, passphrase, [*options, str(cipher), str(view)], lock)

    def _gocryptfs(self, vault: VaultId, passphrase: bytes, arguments: list[str], lock: int | None = None) -> None:
        """Run it; one that mounts stays behind with `lock`, and with the log, since a pipe would be waited for."""
        log = self.log(vault)
        with log.open("wb") as said:
            process = subprocess.Popen(
                [self._program, "-q", *arguments],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=[] if lock is None else [lock],
                start_new_session=True,  # a Ctrl-C in the daemon's terminal is not for the views
            )
            try:
                process.communicate(passphrase, timeout=SECONDS)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)  # the one that stays behind, too
                mounting.unmount(self._first(vault))  # it may wait for itself, and only this ends it
                process.wait()
                raise StoreUnavailable(f"the vault {vault} did not open in {SECONDS} s; see {log}") from error
        if process.returncode == _WRONG_PASSWORD:
            raise IntegrityError(f"the key in {log.parent}/key.json is not the key of the vault {vault}; restore it")
        if process.returncode:
            detail = " ".join(log.read_text(errors="replace").split())[-300:]
            raise StoreUnavailable(f"the vault {vault} cannot be opened: {detail or process.returncode}")
