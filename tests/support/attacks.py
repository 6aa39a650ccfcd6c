# ruff: noqa: PLW1510, PTH108, PTH110, PTH112, PTH118, PTH119, PTH123, PTH207, PTH208, PTH211, SIM115
"""What hostile code tries. Runs inside the sandbox; prints one JSON object: attempt -> what came of it.

Every attempt returns "escaped: ..." where it got somewhere; anything else is how it failed."""

import ctypes
import errno
import glob
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading

GIVEN = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
ATTEMPTS = {}


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def syscall(name, *arguments):
    """The errno's name, or "escaped" where the kernel did it."""
    number = GIVEN["numbers"].get(name)
    if number is None:
        return "ENOSYS"
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if LIBC.syscall(ctypes.c_long(number), *arguments) == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "escaped: " + name


def dial(family, address):
    try:
        with socket.socket(family) as s:
            s.settimeout(2)
            s.connect(address)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return f"escaped: {address}"


@attempt
def loopback_of_the_host():
    return dial(socket.AF_INET, ("127.0.0.1", GIVEN["port"]))


@attempt
def loopback_of_the_host_v6():
    return dial(socket.AF_INET6, ("::1", GIVEN["port6"]))


@attempt
def cloud_metadata():
    return dial(socket.AF_INET, ("169.254.169.254", 80))


@attempt
def private_network():
    return dial(socket.AF_INET, ("10.0.0.1", 80))


@attempt
def name_service():
    try:
        return f"escaped: {socket.getaddrinfo('example.org', 80)}"
    except OSError as error:
        return str(error)


@attempt
def abstract_socket_of_the_host():
    return dial(socket.AF_UNIX, "\0" + GIVEN["abstract"])


@attempt
def other_interfaces():
    names = [name for _, name in socket.if_nameindex()]
    return "only lo" if names == ["lo"] else f"escaped: {names}"


@attempt
def virtual_machine_socket():
    return dial(40, (2, 1024))


@attempt
def raw_packets():
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        return str(error)
    return "escaped: AF_PACKET"


@attempt
def netfilter():
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()
    except OSError as error:
        return str(error)
    return "escaped: NETLINK_NETFILTER"


def see(path):
    try:
        return f"escaped: {os.listdir(path)}" if os.path.isdir(path) else f"escaped: {open(path, 'rb').read(20)}"
    except OSError as error:
        return str(error)


@attempt
def state_folder():
    return see(GIVEN["state"])


@attempt
def other_home():
    return see(GIVEN["other_home"])


@attempt
def trusted_wing():
    import importlib.util

    found = importlib.util.find_spec("readingroom_hub")
    if found and found.origin:
        return f"escaped: {found.origin}"
    return see(GIVEN["hub"]) if glob.glob(GIVEN["hub"] + "/*") else "nothing there"


@attempt
def secrets_of_the_host():
    got = [
        p for p in ("/etc/shadow", "/root", "/etc/ssh", "/etc/ssl/private", "/sys/kernel", "/var") if os.path.exists(p)
    ]
    return f"escaped: {got}" if got else "nothing there"


@attempt
def folder_of_the_host_through_process_1():
    return see("/proc/1/root/etc/shadow")


@attempt
def host_paths_in_the_command_line():
    seen = b"".join(open(p, "rb").read() for p in glob.glob("/proc/[0-9]*/cmdline") if "/self" not in p)
    mine = open("/proc/self/cmdline", "rb").read()
    return "escaped" if GIVEN["state"].encode() in seen.replace(mine, b"") else "only its own"


@attempt
def process_of_the_host():
    pids = [int(p) for p in os.listdir("/proc") if p.isdigit()]
    if len(pids) > 3:
        return f"escaped: {pids}"
    try:
        os.kill(GIVEN["pid"], 0)
    except OSError as error:
        return str(error)
    return "escaped: signalled"


@attempt
def ptrace_process_1():
    return syscall("ptrace", 16, 1, 0, 0)


@attempt
def memory_of_process_1():
    try:
        open("/proc/1/mem", "rb").close()
    except OSError as error:
        return str(error)
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    return syscall("process_vm_readv", 1, vector, 1, vector, 1, 0)


def written(path):
    try:
        with open(path, "a") as file:
            file.write("x")
    except OSError as error:
        return str(error)
    return f"escaped: {path}"


@attempt
def write_to_system():
    return written("/usr/bin/python3")


@attempt
def write_to_python():
    return written(os.path.join(sys.prefix, "pyvenv.cfg"))


@attempt
def write_to_root():
    return written("/new")


@attempt
def write_to_devices():
    return written("/dev/new")


@attempt
def write_to_door():
    try:
        os.symlink("/run/audit.sock", "/run/readingroom/door/other.sock")
    except OSError as error:
        return str(error)
    return "escaped: a link in the door's folder"


@attempt
def replace_the_server_socket():
    try:
        os.unlink("/run/readingroom/door/server.sock")
    except OSError as error:
        return str(error)
    return "escaped: removed"


@attempt
def write_to_data():
    return written("/run/readingroom/volume/data/x")


@attempt
def kernel_settings():
    return written("/proc/sys/kernel/core_pattern")


@attempt
def mount_something():
    return syscall("mount", b"none", b"/tmp", b"tmpfs", 0, 0)


@attempt
def unmount_something():
    return syscall("umount2", b"/run/readingroom/volume", 2)


@attempt
def new_user_namespace():
    return syscall("unshare", 0x10000000)


@attempt
def clone_into_namespace():
    number = GIVEN["numbers"]["clone"]
    if (pid := LIBC.syscall(ctypes.c_long(number), ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)) == -1:
        return errno.errorcode[ctypes.get_errno()]
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "escaped: clone"


@attempt
def bubblewrap_again():
    done = subprocess.run([GIVEN["bwrap"], "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return done.stderr if done.returncode else "escaped: nested sandbox"


@attempt
def enter_namespace():
    return syscall("setns", os.open("/proc/self/ns/user", os.O_RDONLY), 0)


@attempt
def other_architecture():
    """The 32-bit entry, whose numbers the table does not hold: getpid there is 20."""
    if os.uname().machine != "x86_64":
        return "no such entry"
    pid = os.fork()
    if pid == 0:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "escaped: int 0x80"


@attempt
def x32_entry():
    if os.uname().machine != "x86_64":
        return "no such entry"
    pid = os.fork()
    if pid == 0:
        LIBC.syscall(ctypes.c_long(0x40000000 | 39))
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "escaped: x32"


@attempt
def terminal_injection():
    import pty

    _, slave = pty.openpty()
    byte = ctypes.create_string_buffer(b"x")
    # High bits that the kernel ignores must not hide the request from the filter.
    return syscall("ioctl", slave, 0x5412 | 1 << 32, byte)


@attempt
def no_address_randomisation():
    return syscall("personality", 0x0040000)


@attempt
def setuid_programs():
    found = [p for p in ("/usr/bin/su", "/bin/mount", "/usr/bin/fusermount3", "/usr/bin/sudo") if os.path.exists(p)]
    results = []
    for path in found:
        arguments = {"su": ["-c", "id -u"], "fusermount3": ["/tmp"]}.get(
            os.path.basename(path), ["--bind", "/usr", "/tmp"]
        )
        done = subprocess.run([path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        results.append(done.returncode)
    status = open("/proc/self/status").read()
    privileged = "NoNewPrivs:\t1" not in status or "CapEff:\t0000000000000000" not in status
    return "escaped" if privileged or 0 in results else f"all refused: {results}"


@attempt
def become_root():
    try:
        os.setuid(0)
    except OSError as error:
        return str(error)
    return "escaped: uid 0"


@attempt
def device_node():
    try:
        os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(254, 0))
    except OSError as error:
        return str(error)
    return "escaped: a block device"


@attempt
def fill_tmp():
    written_bytes, block = 0, bytes(1 << 20)
    try:
        with open("/tmp/fill", "wb", buffering=0) as file:
            while written_bytes < 4 << 30:
                written_bytes += file.write(block)
    except OSError as error:
        return f"{error} after {written_bytes >> 20} MB"
    finally:
        os.unlink("/tmp/fill")
    return "escaped: 4 GB"


@attempt
def fill_shared_memory():
    size = os.statvfs("/dev/shm")
    total = size.f_blocks * size.f_frsize >> 20
    return f"bounded to {total} MB" if total <= 512 else f"escaped: {total} MB"


@attempt
def fill_home():
    written_bytes, block = 0, bytes(1 << 20)
    try:
        with open("/home/researcher/fill", "wb", buffering=0) as file:
            while written_bytes < 1 << 30:
                written_bytes += file.write(block)
    except OSError as error:
        return f"{error} after {written_bytes >> 20} MB"
    finally:
        os.unlink("/home/researcher/fill")
    return "escaped: 1 GB"


@attempt
def token_in_processes():
    # Given backwards, so that this script's own arguments do not hold it.
    secret, found = GIVEN["terces"][::-1].encode(), []
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        pid = path.split("/")[2]
        if pid != str(os.getpid()) and secret in open(path, "rb").read():
            found.append(path)
    return f"escaped: {found}" if found else "nowhere"


@attempt
def core_file():
    import resource

    return "none" if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else "escaped: pixels in a core file"


def refused_calls():
    results = {}
    for name in GIVEN["refused"]:
        results[name] = syscall(name, 0, 0, 0, 0, 0, 0)
    return results


def ordinary_work():
    """What must go on working, or every refusal above is worth nothing."""
    results = {}
    with open("/home/researcher/note", "w") as file:
        file.write("x")
    with open("/project/shared", "w") as file:
        file.write("x")
    results["uid"] = os.getuid()
    results["thread"] = not threading.Thread(target=lambda: None).start()
    results["numpy"] = subprocess.run([sys.executable, "-c", "import numpy, pydicom, readingroom"]).returncode
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        results["loopback"] = True
    results["data"] = os.path.isdir("/data")
    return results


if __name__ == "__main__":
    answer = {name: str(function()) for name, function in ATTEMPTS.items()}
    print(json.dumps({"attempts": answer, "refused": refused_calls(), "ordinary": ordinary_work()}))
