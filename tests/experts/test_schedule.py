"""Jobs side by side: threads, reports, errors and Ctrl-C."""

import signal
import threading
import time
from concurrent.futures import CancelledError
from functools import partial

import pytest
import torch

from revoxel.experts.schedule import side_by_side


@pytest.fixture
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _silent(_name: str, _share: float) -> None:
    pass


def _endless(report, seen: list[str], started: threading.Event) -> None:
    try:
        for _ in range(10_000):
            report(0.5)
            started.set()
            time.sleep(0.001)
    except CancelledError:
        seen.append("stopped")
        raise


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4, 16], indirect=True)
def test_jobs_never_use_more_threads_than_the_caller_has(n_threads):
    found = side_by_side({name: lambda _: torch.get_num_threads() for name in "ab"}, _silent)
    assert found == dict.fromkeys("ab", max(1, n_threads // 2))
    assert torch.get_num_threads() == n_threads
    assert side_by_side({"one": lambda _: torch.get_num_threads()}, _silent) == {"one": n_threads}


@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_threads_started_later_get_the_callers_number(n_threads):
    side_by_side({name: lambda _: None for name in "ab"}, _silent)
    found = []
    later = threading.Thread(target=lambda: (torch.ones(2).sum(), found.append(torch.get_num_threads())))
    later.start()
    later.join()
    assert found == [n_threads]


@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_jobs_run_at_the_same_time(n_threads):
    meeting = threading.Barrier(n_threads, timeout=20)
    found = side_by_side({name: lambda _: meeting.wait() for name in "ab"}, _silent)
    assert sorted(found.values()) == [0, 1]


@pytest.mark.parametrize("n_threads", [1], indirect=True)
def test_jobs_on_one_thread_run_in_order_where_the_caller_is(n_threads):
    order = []
    jobs = {name: lambda report: (report(1.0), threading.current_thread()) for name in "ab"}
    found = side_by_side(jobs, lambda name, _: order.append(name))
    assert order == ["a", "b"]
    assert all(thread is threading.current_thread() for _, thread in found.values())


@pytest.mark.parametrize("n_threads", [4], indirect=True)
def test_reports_come_one_at_a_time(n_threads):
    busy, reports = threading.Lock(), []

    def progress(name: str, share: float) -> None:
        assert busy.acquire(blocking=False)
        time.sleep(0.001)
        reports.append((name, share))
        busy.release()

    def job(report) -> None:
        for step in range(20):
            report(step / 20)

    side_by_side(dict.fromkeys("abcd", job), progress)
    assert sorted(reports) == [(name, step / 20) for name in "abcd" for step in range(20)]


@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_an_error_is_raised_as_it_is_and_stops_the_others(n_threads):
    seen, started = [], threading.Event()

    def failing(_report) -> None:
        assert started.wait(20)
        raise OSError("the disk is full")

    jobs = {"good": partial(_endless, seen=seen, started=started), "bad": failing, "waiting": failing}
    with pytest.raises(OSError, match="the disk is full"):
        side_by_side(jobs, _silent)
    assert seen == ["stopped"]
    assert torch.get_num_threads() == n_threads


@pytest.fixture
def usual_interrupt():
    """Ctrl-C as Python has it: libraries that other tests import may have put a handler of their own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_ctrl_c_stops_every_job(n_threads):
    seen, started = [], threading.Event()

    def interrupting(_report) -> None:
        assert started.wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    jobs = {"endless": partial(_endless, seen=seen, started=started), "user": interrupting}
    with pytest.raises(KeyboardInterrupt):
        side_by_side(jobs, _silent)
    assert seen == ["stopped"]
    assert torch.get_num_threads() == n_threads
