"""The line that `make label` runs."""

import subprocess


def test_server_listens_to_this_machine_unless_told_otherwise(repository):
    def line(*words: str) -> str:
        answer = subprocess.run(
            ["make", "--dry-run", "label", *words], cwd=repository, capture_output=True, text=True, check=True
        )
        return answer.stdout.splitlines()[-1]

    assert "start_server --app app --studies out/label/study --host 127.0.0.1 --port 8000" in line()
    assert "--studies /scans --host 10.0.0.5 --port 9" in line("STUDIES=/scans", "HOST=10.0.0.5", "PORT=9")
