# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmark starts and measures: NBD servers, kernel zram devices and
the load programs. Every server and device is a context manager, so that none
outlives a failure."""

import errno
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time

PAGE = 4096
ZRAM_CONTROL = "/sys/class/zram-control"
ZRAM_TABLE_ENTRY = 16  # bytes a page, taken for the whole disk at once


class BenchError(Exception):
    """A row cannot be measured; the text says why."""


def run_program(argv, timeout=120):
    """The program's standard output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise BenchError(f"{argv[0]}: {e}") from e
    if done.returncode != 0:
        raise BenchError(f"{os.path.basename(argv[0])}: status {done.returncode}: "
                         f"{done.stderr.strip()}")
    return done.stdout


def median_ratio(figures, reference):
    """Of each round's ratio."""
    return statistics.median(a / b for a, b in zip(figures, reference))


def nbd_handshake(path):
    """Negotiate with the server as far as the default export's size."""
    def receive(sock, count):
        data = b""
        while len(data) < count:
            part = sock.recv(count - len(data))
            if not part:
                raise ConnectionError("the server hung up")
            data += part
        return data

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        magic, option_magic, _ = struct.unpack(">8s8sH", receive(sock, 18))
        if magic != b"NBDMAGIC" or option_magic != b"IHAVEOPT":
            raise BenchError("not an NBD server")
        # Fixed newstyle without padding, then NBD_OPT_EXPORT_NAME "".
        sock.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        size, _ = struct.unpack(">QH", receive(sock, 10))
        sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))  # NBD_CMD_DISC
    return size


class Server:
    """nbdkit in the foreground on a socket of its own."""

    def __init__(self, plugin_args):
        """A CONTROL in an argument stands for a path for the control socket."""
        self.folder = tempfile.mkdtemp(prefix="uzram-bench-")
        self.socket = os.path.join(self.folder, "nbd")
        self.control = os.path.join(self.folder, "control")
        args = [a.replace("CONTROL", self.control) for a in plugin_args]
        self.argv = ["nbdkit", "-f", "--exit-with-parent", "-U", self.socket] + args
        self.process = None
        self.start_seconds = None

    def __enter__(self):
        with open(os.path.join(self.folder, "log"), "wb") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        try:
            self._wait_for_handshake(begin + 10)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.start_seconds = time.monotonic() - begin
        return self

    def _wait_for_handshake(self, deadline):
        while True:
            try:
                nbd_handshake(self.socket)
                return
            except (FileNotFoundError, ConnectionError):
                pass
            if self.process.poll() is not None:
                with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
                    raise BenchError(f"{' '.join(self.argv)}: {log.read().strip()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{' '.join(self.argv)}: does not answer")
            time.sleep(0.0005)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def memory(self):
        """Resident and proportional set size, in bytes."""
        found = {}
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                key, _, rest = line.partition(":")
                if key in ("Rss", "Pss"):
                    found[key] = int(rest.split()[0]) * 1024
        return found

    def cpu(self):
        """Seconds of all its threads, those that ended included."""
        return time.clock_gettime(~self.process.pid << 3 | 2)  # as clock_getcpuclockid(3)


class ZramDevice:
    """A fresh kernel zram device with lz4."""

    def __init__(self, size):
        self.size = size
        self.id = None

    def __enter__(self):
        with open(f"{ZRAM_CONTROL}/hot_add", encoding="ascii") as f:
            self.id = int(f.read())
        try:
            self.reset()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        self._write(f"{ZRAM_CONTROL}/hot_remove", self.id)

    @property
    def path(self):
        return f"/dev/zram{self.id}"

    def _knob(self, name):
        return f"/sys/block/zram{self.id}/{name}"

    @staticmethod
    def _write(path, value):
        """Udev may have the device open for a moment: try again for 5 s."""
        for attempt in range(50):
            try:
                with open(path, "w", encoding="ascii") as f:
                    f.write(str(value))
                return
            except OSError as e:
                if e.errno != errno.EBUSY or attempt == 49:
                    raise BenchError(f"{path}: {e.strerror}") from e
            time.sleep(0.1)

    def reset(self):
        """Empty again."""
        self._write(self._knob("reset"), 1)
        self._write(self._knob("comp_algorithm"), "lz4")
        self._write(self._knob("disksize"), self.size)

    def compact(self):
        self._write(self._knob("compact"), 1)

    def memory(self):
        """What the pool and the table take, and the objects' bytes."""
        with open(self._knob("mm_stat"), encoding="ascii") as f:
            _, compressed, used = [int(word) for word in f.read().split()[:3]]
        return used + self.size // PAGE * ZRAM_TABLE_ENTRY, compressed


def zram_missing():
    """Why kernel zram cannot be measured; None if it can."""
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists(f"{ZRAM_CONTROL}/hot_add"):
        return "this kernel has no zram"
    return None


class Programs:
    """The load programs of the build, over one data file."""

    def __init__(self, folder, data):
        self.folder = folder
        self.data = data

    def _load(self, program, target, mode, request, **options):
        letters = {"workers": "-c", "depth": "-d", "stride": "-k", "count": "-n", "passes": "-l",
                   "shift": "-s", "seed": "-r", "pid": "-p"}
        argv = [os.path.join(self.folder, program), "-f", self.data, "-m", mode, "-b", str(request)]
        for name, flag in (("verify", "-V"), ("timed", "-t")):
            if options.pop(name, False):
                argv.append(flag)
        for name, value in options.items():
            if value is not None:
                argv += [letters[name], str(value)]
        return json.loads(run_program(argv + [target]))

    def nbd(self, server, mode, request, **options):
        return self._load("nbd-load", server.socket, mode, request, pid=server.process.pid,
                          **options)

    def block(self, device, mode, request, **options):
        return self._load("blk-load", device.path, mode, request, **options)

    def codec(self, mode, request, algorithm="lz4", **options):
        return self._load("codec-loop", algorithm, mode, request, **options)

    def writeback(self, mode, path, depth, group, threads, verify):
        argv = [os.path.join(self.folder, "wb-bench"), "-f", self.data, "-m", mode,
                "-d", str(depth), "-b", str(group), "-c", str(threads)]
        return json.loads(run_program(argv + (["-V"] if verify else []) + [path]))
