"""The line that `make label` runs."""

import subprocess


def test_server_listens_to_this_machine_unless_told_otherwise(repository):
    def line(*words: str) -> str:
        command = ["make", "--dry-run", "label", *words]
        answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
        return next(line for line in answer.stdout.splitlines() if "start_server" in line)

    assert "start_server --app app --studies out/label/study --host 127.0.0.1 --port 8000" in line()
    assert "--studies /scans --host 10.0.0.5 --port 9" in line(
        "STUDIES=/scans", "LABEL_HOST=10.0.0.5", "LABEL_PORT=9"
    )
