"""The stock server as a process, on a free port, with a study of small scans; and raw requests to it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quick_experts import write_expert_files
from revoxel.core.volumes import read_volume
from revoxel.label.sample import write_sample

REPOSITORY = Path(__file__).resolve().parents[2]
MAX_UPLOAD_MB = 2
# The true experts with two steps of tuning: they differ from each other and cost little.
QUICK_EXPERTS = """
from dataclasses import replace
import revoxel.experts.run as run

run.RECIPES = {expert: replace(recipe, n_steps_warm=2) for expert, recipe in run.RECIPES.items()}
"""
_START_S = 300


@dataclass(frozen=True)
class LiveServer:
    """A server that answers."""

    port: int
    studies: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **request: object) -> tuple[int, str]:
        """Status and text of a request as it is, without a client that makes it tidy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, **request)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def log(self) -> str:
        return (self.folder / "server.log").read_text()


def write_study(folder: Path) -> Path:
    """Four scans; of all but `sub-03` experts that cost nothing lie beside them."""
    studies = folder / "study"
    for scan in write_sample(studies, (64, 64, 60)):
        if "sub-03" not in scan.name:
            write_expert_files(read_volume(scan), scan.with_name(scan.name.removesuffix(".nii.gz")))
    return studies


@contextmanager
def live_server(folder: Path) -> Iterator[LiveServer]:
    """Start, wait until it answers, and stop it with its children, whatever happens."""
    studies = write_study(folder)
    # The stock server makes folders beside main.py: not in the checkout.
    (folder / "app").mkdir()
    entry = (REPOSITORY / "app" / "main.py").read_text()
    (folder / "app" / "main.py").write_text(QUICK_EXPERTS + entry)
    server = LiveServer(_free_port(), studies, folder)
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", folder / "app"]
    command += ["--studies", studies, "--host", "127.0.0.1", "--port", server.port]
    command += ["--conf", "max_upload_mb", MAX_UPLOAD_MB]
    environment = os.environ | {"MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        try:
            _wait(server, process)
            yield server
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(server: LiveServer, process: subprocess.Popen) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        assert process.poll() is None, server.log()
        try:
            if server.ask("GET", "/info/")[0] == 200:
                return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(server.log())


def _stop(process: subprocess.Popen) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
