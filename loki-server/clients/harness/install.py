"""Installs the clients into a cache folder, each from its registry with that registry's own program.

What is installed is locked: by hashes in `requirements.txt`, by `package-lock.json`, `Cargo.lock` and `go.sum`. Debian's
packages have the version of the distribution; they are unpacked into the cache folder, so that nobody has to be root.
Everything that was installed once is reused until its lock file changes.
"""

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import venv

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "programs")
DEBIAN_PACKAGES = ["syslog-ng-core", "syslog-ng-mod-http"]
GO_KINDS = {"loki", "promtail"}
STEP_SECONDS = 1500
SHOWN_LINES = 30


class Missing(Exception):
    """A program that the installation needs is not on this machine."""


class Installation:
    """The cache folder: paths of what is installed, and how to install it."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.python = os.path.join(folder, "python", "bin", "python")
        self.node_folder = os.path.join(folder, "node")
        self.tracing_loki = os.path.join(folder, "cargo", "debug", "push-with-tracing-loki")
        self.go_bin = os.path.join(folder, "go-bin")
        self.debian_root = os.path.join(folder, "debian", "root")
        self.errors = {}

    def install(self, kinds, say):
        """Installs several kinds at once. What fails is in `errors` afterwards, by kind."""
        threads = [threading.Thread(target=self._try, args=(kind, say)) for kind in sorted(kinds)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if kinds & GO_KINDS and not self.errors.keys() & GO_KINDS:
            # Gigabytes of sources and objects, of use to nobody now that the programs are built.
            for name in ("go", "go-build"):
                shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)

    def _try(self, kind, say):
        try:
            getattr(self, f"_{kind}")(say)
        except (Missing, OSError, subprocess.SubprocessError) as error:
            self.errors[kind] = error

    def _curl(self, _):
        need("curl")

    def _python(self, say):
        lock = os.path.join(PROGRAMS, "python", "requirements.txt")
        with Stamp(self.folder, "python", [lock], sys.version) as stamp:
            if stamp.is_fresh:
                return
            say("installing from PyPI")
            folder = os.path.join(self.folder, "python")
            venv.create(folder, clear=True, with_pip=True)
            self._run([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
                       "--only-binary", ":all:", "--requirement", lock])

    def _node(self, say):
        need("npm", "node")
        files = [os.path.join(PROGRAMS, "node", name) for name in ("package.json", "package-lock.json")]
        with Stamp(self.folder, "node", files) as stamp:
            if stamp.is_fresh:
                return
            say("installing from npm")
            os.makedirs(self.node_folder, exist_ok=True)
            for file in files:
                shutil.copy(file, self.node_folder)
            self._run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=self.node_folder)

    def _rust(self, say):
        need("cargo")
        project = os.path.join(PROGRAMS, "tracing-loki")
        files = [os.path.join(project, name) for name in ("Cargo.toml", "Cargo.lock", "src/main.rs")]
        with Stamp(self.folder, "rust", files) as stamp:
            if stamp.is_fresh:
                return
            say("building from crates.io")
            self._run(["cargo", "build", "--quiet", "--locked", "--target-dir", os.path.join(self.folder, "cargo")], cwd=project)

    def _loki(self, say):
        self._go("loki", say)

    def _promtail(self, say):
        self._go("promtail", say)

    def _go(self, kind, say):
        """Builds the tools that a `go.mod` names."""
        need("go")
        project = os.path.join(PROGRAMS, "go", kind)
        files = [os.path.join(project, name) for name in ("go.mod", "go.sum")]
        with Stamp(self.folder, kind, files) as stamp:
            if stamp.is_fresh:
                return
            say(f"building {kind} from Go's module proxy (minutes, the first time)")
            os.makedirs(self.go_bin, exist_ok=True)
            places = {"GOPATH": os.path.join(self.folder, "go"), "GOCACHE": os.path.join(self.folder, "go-build"),
                      "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false"}
            # Without inlining they take a third less time to build, and nobody waits for them afterwards.
            self._run(["go", "build", "-gcflags=all=-l", "-ldflags=-s -w", "-o", self.go_bin + os.sep, "tool"], cwd=project, extra_env=places)

    def _debian(self, say):
        need("apt-get", "dpkg-deb")
        if shutil.which("syslog-ng"):
            return
        with Stamp(self.folder, "debian", [], " ".join(DEBIAN_PACKAGES)) as stamp:
            if stamp.is_fresh:
                return
            say("unpacking from the distribution's archive")
            places = {name: os.path.join(self.folder, "debian", name) for name in ("lists", "cache", "archives")}
            for place in places.values():
                os.makedirs(os.path.join(place, "partial"), exist_ok=True)
            options = [f"Dir::State::Lists={places['lists']}", f"Dir::Cache={places['cache']}",
                       f"Dir::Cache::archives={places['archives']}", "Debug::NoLocking=true", "APT::Sandbox::User=",
                       "APT::Install-Recommends=false"]
            apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
            self._run([*apt, "update"])
            self._run([*apt, "--yes", "--download-only", "install", *DEBIAN_PACKAGES])
            for package in glob.glob(os.path.join(places["archives"], "*.deb")):
                self._run(["dpkg-deb", "--extract", package, self.debian_root])

    def syslog_ng(self):
        """The words that start syslog-ng and the environment it needs."""
        if found := shutil.which("syslog-ng"):
            return [found], {}
        usr = os.path.join(self.debian_root, "usr")
        modules = glob.glob(os.path.join(usr, "lib", "syslog-ng", "*", "libhttp.so"))
        libraries = glob.glob(os.path.join(usr, "lib", "*-linux-gnu")) + glob.glob(os.path.join(self.debian_root, "lib", "*-linux-gnu"))
        libraries.append(os.path.join(usr, "lib", "syslog-ng"))
        words = [os.path.join(usr, "sbin", "syslog-ng"), f"--module-path={os.path.dirname(modules[0])}"]
        return words, {"LD_LIBRARY_PATH": ":".join(libraries)}

    def _run(self, command, cwd=None, extra_env=None):
        outcome = subprocess.run(command, cwd=cwd or self.folder, env={**os.environ, **(extra_env or {})}, text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=STEP_SECONDS)
        if outcome.returncode:
            lines = [line for line in outcome.stdout.splitlines() if not line.startswith("go: downloading")]
            raise OSError(f"{' '.join(command[:4])} ... ended with {outcome.returncode}:\n" + "\n".join(lines[-SHOWN_LINES:]))


class Stamp:
    """Remembers beside what was installed from which lock files; written when the installation succeeds."""

    def __init__(self, folder, kind, files, more=""):
        self._path = os.path.join(folder, f"{kind}.stamp")
        digest = hashlib.sha256(more.encode())
        for file in files:
            with open(file, "rb") as lock:
                digest.update(lock.read())
        self._digest = digest.hexdigest()
        self.is_fresh = False

    def __enter__(self):
        if os.path.exists(self._path):
            with open(self._path) as stamp:
                self.is_fresh = stamp.read() == self._digest
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            with open(self._path, "w") as stamp:
                stamp.write(self._digest)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"needs {program}")
