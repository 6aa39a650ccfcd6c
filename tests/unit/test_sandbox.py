"""Builders of the sandbox: what bwrap is told, the filter's table, limits as files, the layout, what doctor finds."""

import errno
import os
import platform
import re
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import readingroom_hub
from readingroom_hub.config import Settings
from readingroom_hub.crypto.vouch import check_vouch, vouch
from readingroom_hub.errors import Denied, SystemUnfit
from readingroom_hub.model.ids import SessionId
from readingroom_hub.sandbox import bubblewrap, door, fitness, homes, layout, limits, seccomp
from readingroom_hub.sandbox.accounts import Account
from readingroom_hub.sandbox.bubblewrap import Bind, Sandbox
from readingroom_hub.sandbox.gate import Refused, Rules, Service, parse_head
from readingroom_hub.sandbox.plan import Plan
from readingroom_hub.sandbox.relay import Upstream

BOX = Sandbox(("/bin/true", "x"), (Bind("/a/b", "/b/c"), Bind("/a", "/b", writable=True)), {"B": "2", "A": "1"})


def pairs(options):
    return list(pairwise(options))


def test_every_namespace_is_left_and_none_can_be_made_again():
    options = bubblewrap.options(BOX, 10, 11)
    for name in ("user", "pid", "net", "ipc", "uts"):
        assert f"--unshare-{name}" in options
    for option in ("--disable-userns", "--die-with-parent", "--new-session", "--unshare-cgroup-try", "--clearenv"):
        assert option in options
    assert ("--cap-drop", "ALL") in pairs(options)
    assert not any("share-net" in o and "unshare" not in o for o in options)


def test_parents_are_bound_before_children_and_the_rest_becomes_read_only_last():
    options = bubblewrap.options(BOX, 10, 11)
    assert options.index("/b") < options.index("/b/c")
    assert options[options.index("/b") - 2] == "--bind"
    assert options[options.index("/b/c") - 2] == "--ro-bind"
    sealed = len(options) - 1 - options[::-1].index("--remount-ro")
    assert options[sealed + 1] == "/"
    assert not {"--bind", "--ro-bind", "--tmpfs", "--dir", "--symlink"} & set(options[sealed:])


def test_command_line_that_everybody_can_read_names_no_folder_of_the_host():
    assert bubblewrap.command(BOX, 9)[1:] == ["--args", "9", "--", "/bin/true", "x"]


def headers():
    x86 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    generic = Path("/usr/include/asm-generic/unistd.h")
    if not (x86.exists() and generic.exists()):
        pytest.skip("no kernel headers on this machine")
    tables = []
    for path, pattern in ((x86, r"#define __NR_(\w+) (\d+)"), (generic, r"#define __NR(?:3264)?_(\w+) (\d+)")):
        tables.append({m[1]: int(m[2]) for m in re.finditer(pattern, path.read_text())})
    return tables


def test_system_call_numbers_are_the_kernel_headers():
    x86, generic = headers()
    for name, (on_x86, on_arm) in seccomp.NUMBERS.items():
        assert x86.get(name, on_x86) == on_x86, name
        assert generic.get(name, on_arm) == on_arm, name


def test_every_refused_call_has_a_number():
    named = {name for names in seccomp.REFUSED.values() for name in names}
    assert named | {"clone", "clone3", "ioctl", "personality", "socket"} == set(seccomp.NUMBERS)


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_filter_is_a_program_that_the_kernel_can_take(machine):
    program = seccomp.build(machine)
    steps = [program[i : i + 8] for i in range(0, len(program), 8)]
    assert len(program) % 8 == 0
    assert len(steps) <= 4096  # BPF_MAXINSNS
    for at, step in enumerate(steps):
        code, true, false = int.from_bytes(step[:2], "little"), step[2], step[3]
        if code & 7 == 5:  # a jump stays inside
            assert at + 1 + max(true, false) < len(steps)
    assert int.from_bytes(steps[-1][:2], "little") == 6


def test_machine_without_a_table_is_unfit():
    with pytest.raises(SystemUnfit, match="riscv64"):
        seccomp.build("riscv64")


WANTED = limits.Limits(1024, 64, 150, 100)


def unified(root: Path) -> Path:
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    (root / "cgroup.subtree_control").touch()
    return root


def test_cgroup_v2_files(tmp_path, monkeypatch):
    def made(self, mode=0o777, parents=False, exist_ok=False):
        os.makedirs(self, mode, exist_ok=exist_ok)  # noqa: PTH103  # the kernel fills a new group with files
        for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.subtree_control"):
            (self / name).touch()

    unified(tmp_path)
    monkeypatch.setattr(Path, "mkdir", made)
    assert limits.kind(tmp_path) is limits.Kind.CGROUP_V2
    (group,) = limits.make_groups("s-1", WANTED, tmp_path)
    assert group == tmp_path / "readingroom" / "s-1"
    assert (group / "memory.max").read_text() == str(1 << 30)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "pids.max").read_text() == "64"
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert "+memory" in (tmp_path / "readingroom" / "cgroup.subtree_control").read_text()


def test_machine_without_control_groups_says_so(tmp_path):
    assert limits.kind(tmp_path) is limits.Kind.RLIMITS
    assert limits.make_groups("s-1", WANTED, tmp_path) == []
    assert "each process" in limits.describe(tmp_path)


def test_control_group_without_memory_limit_is_no_control_group(tmp_path):
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    assert limits.kind(tmp_path) is limits.Kind.CGROUP_V1
    with pytest.raises(SystemUnfit, match=r"memory.limit_in_bytes is missing"):
        limits.make_groups("s-1", WANTED, tmp_path)
    assert not (tmp_path / "memory" / "readingroom" / "s-1").exists()


PLACES = layout.Places("/s/home", "/s/project", "/s/door", "/s/volume")


def test_sandbox_sees_the_untrusted_wing_and_never_the_trusted_one(tmp_path):
    box = layout.build(PLACES, ["/bin/true"], {}, tmp_path)
    trusted = Path(readingroom_hub.__file__).parent
    seen = [b.target for b in box.binds if trusted.is_relative_to(b.target)]
    assert not seen or str(trusted) in box.masks
    assert any(b.target.endswith("/readingroom") for b in box.binds)
    assert [b.target for b in box.binds if b.writable] == []
    assert sorted(b.target for b in box.binds if b.below) == ["/home", "/run/readingroom/project"]
    assert ("/run/readingroom/volume/data", "/data") in box.symlinks
    assert ("/run/readingroom/project/view/content/project", "/project") in box.symlinks


def test_a_folder_of_an_earlier_release_is_bound_in_place_of_the_vaults(tmp_path):
    box = layout.build(replace(PLACES, clear_project="/s/clear"), ["/bin/true"], {}, tmp_path)
    assert [(b.source, b.target) for b in box.binds if b.writable] == [("/s/clear", "/run/readingroom/project")]
    assert ("/run/readingroom/project", "/project") in box.symlinks


def test_a_folder_above_views_is_made_read_only_without_them():
    said = bubblewrap.options(replace(BOX, binds=(Bind("/s/home", "/home", below=True),)), 3, 4)
    at = said.index("/s/home") - 1
    assert said[at : at + 5] == ["--bind", "/s/home", "/home", "--remount-ro", "/home"]


def test_trusted_wing_beside_the_packages_is_masked(tmp_path, monkeypatch):
    prefix = tmp_path / "venv"
    wheel = prefix / "lib" / "readingroom_hub"
    wheel.mkdir(parents=True)
    monkeypatch.setattr(readingroom_hub, "__file__", str(wheel / "__init__.py"))
    monkeypatch.setattr(layout, "prefixes", lambda: [prefix])
    assert layout.build(PLACES, ["/bin/true"], {}, tmp_path / "state").masks == (str(wheel),)


def test_state_that_every_server_could_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(layout, "prefixes", lambda: [tmp_path])
    with pytest.raises(SystemUnfit, match="READINGROOM_STATE"):
        layout.build(PLACES, ["/bin/true"], {}, tmp_path / "state")


def test_plan_survives_the_pipe():
    plan = Plan(
        sandbox=replace(BOX, masks=("/m",), symlinks=(("a", "/b"),)),
        limits=WANTED,
        groups=("/g",),
        account=Account(300000, 300001),
        measured="/m",
        door="/d",
        refusals="/r",
        log="/l",
        rules=Rules("/", "u-abc"),
        services={Service.HUB: Upstream("127.0.0.1", 1, {"a": "b"})},
        secrets={"api_token": "t"},
    )
    assert Plan.from_json(plan.to_json()) == plan


KEY, SESSION = b"k" * 32, SessionId("s-" + "0" * 24)


def test_door_vouches_for_its_own_session_only():
    code = vouch(KEY, SESSION)
    check_vouch(KEY, SESSION, code)
    other = SessionId("s-" + "1" * 24)
    for key, session, given_code in (
        (KEY, other, code),
        (b"x" * 32, SESSION, code),
        (KEY, SESSION, "zz"),
        (KEY, SESSION, ""),
    ):
        with pytest.raises(Denied):
            check_vouch(key, session, given_code)


@given(st.binary(max_size=300))
def test_any_head_is_parsed_or_refused(data):
    with suppress(Refused):
        method, path, query, _ = parse_head(b"GET " + data + b" HTTP/1.1\r\n" + data)
        assert method == "GET"
        assert path.startswith("/")
        assert "/." not in path
        assert "%" not in path
        assert "//" not in path
        assert "\n" not in path + query


def test_used_space_counts_blocks_and_not_links(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").symlink_to("/usr/bin/python3")
    assert 100_000 <= homes.used_bytes(tmp_path) < 200_000


def test_a_home_whose_view_is_lost_while_it_is_measured_stops_no_server(tmp_path, monkeypatch):
    def lost(path):
        raise OSError(errno.ENOTCONN, "not connected", path)

    (tmp_path / "a").write_bytes(b"x" * 100_000)
    monkeypatch.setattr(homes.os, "lstat", lost)
    assert homes.used_bytes(tmp_path) == 0


def test_doctor_names_what_is_missing_and_what_to_do(tmp_path, monkeypatch):
    settings = Settings(state=tmp_path)
    found = {c.name: c for c in fitness.examine(settings)}
    assert len(found) == len(fitness.CHECKS)
    assert all(c.remedy for c in found.values() if c.level is not fitness.Level.OK)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(fitness, "CHECKS", (fitness._state_folder, fitness._clock))
    monkeypatch.setattr(fitness, "EARLIEST", 1 << 40)
    with pytest.raises(SystemUnfit, match=r"(?s)chmod 0700.*NTP"):
        fitness.check_required(settings)


@pytest.mark.skipif(platform.machine() not in seccomp.ARCHITECTURES, reason="no filter for this machine")
def test_doctor_really_tries_a_sandbox():
    assert fitness._try_sandbox(399_991 if os.geteuid() == 0 else None) is None


def test_doctor_hears_why_a_sandbox_cannot_be_made(monkeypatch):
    monkeypatch.setattr(layout, "everyones", lambda: (Bind("/no/such/folder", "/x"),))
    assert "such file" in fitness._try_sandbox(None)


def test_home_that_nothing_limits_is_measured_and_its_server_stopped(tmp_path, monkeypatch):
    plan = Plan(BOX, replace(WANTED, home_mb=0), (), None, str(tmp_path), "", "", "", Rules("/", "u"), {}, {})
    monkeypatch.setattr(door, "HOME_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(door, "GRACE_SECONDS", 0)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        timer = threading.Timer(0.1, (tmp_path / "large").write_bytes, [b"x" * 100_000])
        timer.start()
        door._watch(plan, process, process.pid)
        timer.join()
        assert process.returncode == -9


@pytest.mark.parametrize(
    ("given", "level", "words"),
    [
        ({}, fitness.Level.ADVICE, "is a file in"),
        ({"pkcs11_module_file": Path("/lib/p11.so"), "pkcs11_token": "room"}, fitness.Level.OK, "the token 'room'"),
        ({"kms_region": "eu-central-1"}, fitness.Level.OK, "a key service, region eu-central-1"),
    ],
)
def test_the_doctor_says_where_keys_are(tmp_path, given, level, words):
    check = fitness._custody(Settings(state=tmp_path, **given))
    assert check.level is level
    assert words in check.sentence
