"""Devices are what exists, seeds repeat, and bfloat16 is used only where the processor has it."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from revoxel.core import compute
from revoxel.core.compute import autocast, fast_dtype, resolve_device, set_seed, set_threads


def test_auto_is_a_device_that_exists():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:-1", "", "CPU"])
def test_unknown_device_is_named_with_the_choices(name):
    with pytest.raises(ValueError, match="auto, cpu or cuda:N"):
        resolve_device(name)


def test_absent_cuda_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="0 CUDA devices"):
        resolve_device("cuda")


def test_cuda_index_is_checked_against_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("auto") == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="2 CUDA devices"):
        resolve_device("cuda:2")


def test_thread_count_is_taken():
    before = torch.get_num_threads()
    try:
        assert set_threads(2) == 2
    finally:
        torch.set_num_threads(before)


def test_threads_default_to_the_cores_of_this_process(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        assert set_threads(None) >= 1
    finally:
        torch.set_num_threads(before)


def test_zero_threads_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


def test_same_seed_same_numbers():
    draws = []
    for _ in range(2):
        set_seed(7)
        draws.append((np.random.rand(), torch.rand(1).item()))  # noqa: NPY002 - the global generator is the subject
    assert draws[0] == draws[1]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        set_seed(seed)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fast_dtype("cpu") is dtype


def test_torch_that_cannot_tell_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert fast_dtype(torch.device("cpu")) is torch.float32


def test_cuda_format_is_asked_of_the_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert fast_dtype("cuda") is torch.bfloat16


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_runs_convolutions_in_the_fast_format(monkeypatch, native, dtype):
    monkeypatch.setattr(compute, "_cpu_has_bf16", lambda: native)
    with autocast("cpu"):
        result = torch.nn.Conv3d(1, 1, 1)(torch.zeros(1, 1, 2, 2, 2))
    assert result.dtype is dtype


def test_memory_is_kept_where_the_c_library_can_be_told():
    """In a process of its own: the setting lasts."""
    told = "import torch; from revoxel.core.compute import keep_memory as k; print(k()); torch.ones(1 << 24)"
    output = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(platform.libc_ver()[0] == "glibc")


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_memory_is_left_alone_where_there_is_no_such_library(monkeypatch, error):
    def absent(_name):
        raise error

    monkeypatch.setattr(compute.ctypes, "CDLL", absent)
    assert compute.keep_memory() is False


@pytest.mark.cuda
def test_cuda_autocast_computes_on_the_device():
    device = resolve_device("cuda:0")
    with autocast(device):
        result = torch.ones(4, 4, device=device) @ torch.ones(4, 4, device=device)
    assert result.dtype is fast_dtype(device)
