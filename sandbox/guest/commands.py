"""Guest of a `Sandbox`: runs commands, moves files, says what changed."""

# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH108, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import _signal as signal
import marshal
import os
import select
import stat
import time

from plateau_bench.sandbox.guest.core import (
    FRAME,
    as_json,
    become,
    begin,
    confine,
    kill_everything,
    read_exact,
    read_numbers,
    reply,
    set_limits,
    write_all,
)
from plateau_bench.sandbox.guest.files import ALL, Identify, files

MAX_FILE, MAX_DIFF = 10_000_000, 48_000_000
"""Bytes of one file and of all files in a diff."""
WATCH_S = 0.1
"""How often the memory of a box without a cgroup is looked at."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Tail:
    """The last `keep` bytes of a stream."""

    def __init__(self, keep: int) -> None:
        self.keep, self.data, self.cut = keep, bytearray(), False

    def add(self, part: bytes) -> None:
        self.data += part
        if len(self.data) > 2 * self.keep:
            self.trim()

    def trim(self) -> None:
        if len(self.data) > self.keep:
            del self.data[: len(self.data) - self.keep]
            self.cut = True


class PipeTail(Tail):
    """The last `keep` bytes of what comes out of a pipe."""

    def __init__(self, fd: int, keep: int) -> None:
        super().__init__(keep)
        os.set_blocking(fd, False)
        self.fd, self.open = fd, True

    def pull(self) -> bool:
        """Take what is there, at most 64 KiB; False when there is nothing for now."""
        try:
            part = os.read(self.fd, 65536)
        except BlockingIOError:
            return False
        self.open = bool(part)
        self.add(part)
        return self.open


class Commands:
    """Answers the requests of one `Sandbox`, one after another."""

    def __init__(self, rfd: int, wfd: int, wake: int, config: dict) -> None:
        self.rfd, self.wfd, self.wake, self.config = rfd, wfd, wake, config
        self.statuses: dict[int, int] = {}
        self.inodes: dict[str, int] = {}

    def serve(self) -> None:
        os.chdir(self.config["workdir"])
        if os.getuid() == 0:  # not our image: its library may be open to change, so load all of it now
            __import__("json"), __import__("hashlib")
            hand_over(self.config["workdir"], self.config["uid"])
        if self.config.get("seed"):
            copy_tree(self.config["seed"], self.config["workdir"])
        set_limits(self.config["limits"])  # inherited by every command; this guest stays far below them
        while True:
            watch = self.config["memory"] and self.reap()
            ready, _, _ = select.select([self.rfd, self.wake], [], [], WATCH_S if watch else None)
            if watch and self.overfull():
                kill_everything()
            self.reap()
            if self.rfd not in ready:
                continue
            head, body = read_numbers(self.rfd, FRAME)
            request = marshal.loads(read_exact(self.rfd, head))
            data = read_exact(self.rfd, body)
            try:
                getattr(self, "do_" + request["op"])(request, data)
            except (OSError, ValueError, MemoryError) as e:
                reply(self.wfd, {"error": type(e).__name__, "text": str(e)})

    def reap(self, keep: int = 0) -> bool:
        """Collect the dead; True while something else in the box is alive."""
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == keep:
                self.statuses[pid] = status

    def start(self, argv: list[str], stdin: bytes, out: int, err: int) -> int:
        source = os.memfd_create("stdin", os.MFD_CLOEXEC) if stdin else os.open("/dev/null", os.O_RDONLY)
        try:
            write_all(source, stdin)
            if stdin:
                os.lseek(source, 0, os.SEEK_SET)
            dup = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((source, 0), (out, 1), (err, 2))]
            changed = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
            pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=dup, setsid=True, setsigdef=changed)
        finally:
            os.close(source)
        try:  # the kernel's memory killer should take the command, not this guest
            with open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
                file.write(b"500")
        except OSError:
            pass
        return pid

    def do_run(self, request: dict, stdin: bytes) -> None:
        (out_r, out_w), (err_r, err_w) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        streams = [PipeTail(fd, self.config["output"]) for fd in (out_r, err_r)]
        started = time.monotonic()
        pid = 0
        try:
            pid = self.start(request["argv"], stdin, out_w, err_w)
        except (OSError, ValueError) as e:  # no such command, or no process left: the command's failure
            os.write(err_w, f"{request['argv'][0]}: {e}\n".encode(errors="replace")[:4096])
        finally:
            os.close(out_w)
            os.close(err_w)
        ending = self.wait(pid, started + request["timeout"], streams) if pid else ""
        if ending:
            kill_everything()
        for stream in streams:
            for _ in range(64):  # bounded: a background process may go on writing
                if not stream.pull():
                    break
            stream.trim()
            os.close(stream.fd)
        if ending == "memory":
            streams[1].data += b"box: out of memory, everything in it was killed\n"
        timed_out = ending == "time"
        status = self.statuses.pop(pid, signal.SIGKILL) if pid else 127 << 8
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        header: dict = {
            "exit": None if timed_out else code,
            "timed_out": timed_out,
            "out": len(streams[0].data),
        }
        header |= {"duration": time.monotonic() - started, "truncated": any(s.cut for s in streams)}
        reply(self.wfd, header, bytes(streams[0].data + streams[1].data))

    def wait(self, pid: int, deadline: float, streams: list[PipeTail]) -> str:
        """Collect output until the command itself ends (""), or the box's "time" or "memory" is used up."""
        check = 0.0
        while True:
            now = time.monotonic()
            left = deadline - now
            if left <= 0:
                return "time"
            if self.config["memory"]:
                if now >= check and self.overfull():
                    return "memory"
                check = max(check, now + WATCH_S) if now >= check else check
                left = min(left, WATCH_S)
            fds = [self.rfd, self.wake, *(s.fd for s in streams if s.open)]
            ready, _, _ = select.select(fds, [], [], left)
            if self.rfd in ready:
                os._exit(0)  # the harness sends nothing while it waits, so this is its end
            for stream in streams:
                if stream.fd in ready:
                    stream.pull()
            self.reap(pid)
            if pid in self.statuses:
                return ""

    def overfull(self) -> bool:
        """More memory held than there is, or more files made on a tmpfs than it should have."""
        growing = False
        for path, most in self.config.get("inodes", {}).items():
            found = os.statvfs(path)
            used = found.f_files - found.f_ffree
            growing |= used > most and used > self.inodes.get(path, 0)  # to remove some must remain possible
            self.inodes[path] = used
        return growing or resident() > self.config["memory"]

    # files

    def path(self, path: str) -> str:
        return os.path.join(self.config["workdir"], path)

    def do_read(self, request: dict, _: bytes) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self.path(request["path"]), flags), "rb") as file:  # a directory raises here
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{request['path']} is not a regular file")
            data = file.read(request["max"] + 1)
        if len(data) > request["max"]:
            raise ValueError(f"{request['path']} is larger than {request['max']} bytes")
        reply(self.wfd, {}, data)

    def do_write(self, request: dict, data: bytes) -> None:
        path = self.path(request["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        part = os.path.join(os.path.dirname(path), f".{os.urandom(8).hex()}")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data)
            os.fchmod(fd, request["mode"])
            os.rename(part, path)  # replaces a symlink instead of writing through it
        except OSError:
            os.unlink(part)
            raise
        finally:
            os.close(fd)
        reply(self.wfd, {})

    def do_snapshot(self, _: dict, __: bytes) -> None:
        found: dict[str, str] = {}
        identify = Identify()
        for path, fd in files(self.config["workdir"]):
            if fd is not None:
                found[path] = identify(fd)
        reply(self.wfd, {}, as_json(found).encode())

    def do_diff(self, _: dict, body: bytes) -> None:
        since = marshal.loads(body)
        written: list[tuple[str, int]] = []
        refused: list[str] = []
        seen: set[str] = set()
        content = bytearray()
        identify = Identify()
        for path, fd in files(self.config["workdir"]):
            seen.add(path)
            if fd is None:
                refused.append(path)
            elif identify(fd) != since.get(path):
                size = os.fstat(fd).st_size
                if size > MAX_FILE or len(content) + size > MAX_DIFF:
                    refused.append(path)
                    continue
                data = os.pread(fd, MAX_FILE, 0)
                written.append((path, len(data)))
                content += data
        # what lies below these was not seen, so it is not known to be deleted
        hidden = tuple("" if p == ALL else p for p in refused if p.endswith("/"))
        deleted = [p for p in since if p not in seen and not p.startswith(hidden)]
        reply(self.wfd, {"written": written, "deleted": deleted, "refused": refused}, bytes(content))


def copy_tree(source: str, target: str) -> None:
    """Copy what is below `source` into a folder: files, folders and links, with modes and times."""
    for top, folders, names in os.walk(source):
        here = target + top[len(source) :]
        for name in (*folders, *names):
            path, new = os.path.join(top, name), os.path.join(here, name)
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(path), new)
                continue
            if stat.S_ISDIR(found.st_mode):
                os.mkdir(new, 0o700)
            else:
                with open(path, "rb") as old, open(new, "xb") as file:
                    while part := old.read(1 << 20):
                        file.write(part)
            os.chmod(new, stat.S_IMODE(found.st_mode) | (0o700 if stat.S_ISDIR(found.st_mode) else 0o600))
            os.utime(new, ns=(found.st_mtime_ns, found.st_mtime_ns))


def resident() -> int:
    """Bytes of memory that all processes of the box hold; 8 MiB of shared pages each pass for libraries."""
    pages = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/statm", "rb") as file:
                    _, held, shared, *_ = map(int, file.read().split())
            except OSError:
                continue
            pages += held - min(shared, (8 << 20) // PAGE)
    return pages * PAGE


def hand_over(top: str, uid: int) -> None:
    """Give a folder and all in it to the user that commands run as, and become that user for good."""
    for folder, _, names in os.walk(top, topdown=False):  # what is given away may no longer be entered
        for path in (*(os.path.join(folder, name) for name in names), folder):
            os.chown(path, uid, uid, follow_symlinks=False)
    become(uid)
    confine(None)  # a change of user may have made this process dumpable again


def main() -> None:
    Commands(*begin()).serve()
