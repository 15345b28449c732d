"""Freed memory is used again, rather than returned to the system and cleared by it for the next layer."""

from __future__ import annotations

import copy
import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from notebook_kit import BertConfig, BertModel
from notebook_kit.nn import few_rows, heap, many_rows
from notebook_kit.pipelines import quantization
from notebook_kit.pipelines.quantization import quantized

CHILD = """
import json, mmap, resource
import torch
from notebook_kit.nn.heap import keep_freed_memory, use_huge_pages

torch.set_num_threads(1)

def faults(call):  # the fewest page faults of two calls: at first, the heap may grow
    found = []
    for calls in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        call(), call()
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(found)

def of_blocks():
    return faults(lambda: [torch.ones(8 << 18) for _ in range(3)])

def of_new_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(24 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def of_advised_block():  # as many as the system needs for a block that is not of the heap
    block = mmap.mmap(-1, 24 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_HUGEPAGE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def of_model():  # with 2,048 rows, whose layers have results of up to 16 MiB
    from notebook_kit import BertConfig, BertModel

    size = {"hidden_size": 512, "num_hidden_layers": 1, "num_attention_heads": 8, "intermediate_size": 2048, "vocab_size": 100}
    model = BertModel(BertConfig(**size)).eval()
    with torch.no_grad():
        return faults(lambda: model(torch.zeros(16, 128, dtype=torch.long)))

"""

ONLY_GLIBC = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only the GNU C library has this threshold"
)
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SETTINGS = {name for name in os.environ if name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")}


def result_of(code: str, **settings: str) -> list[int]:
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
    code = f"{CHILD}\nprint(json.dumps([{code}]))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@ONLY_GLIBC
def test_a_model_computes_in_memory_that_was_freed():
    assert max(result_of("of_model()")) < 300  # rather than 20,000


@ONLY_GLIBC
def test_blocks_of_the_heap():
    of_copy, of_blocks = result_of("use_huge_pages() or of_new_block(), of_blocks()")
    assert of_blocks < 300
    if HUGE.exists():
        # 1,500 rather than 6,144: only at its ends may it have pages of 4 KiB; more where memory has no free pages of 2 MiB.
        (possible,) = result_of("of_advised_block()")
        assert of_copy < 1_500 + possible


@ONLY_GLIBC
def test_the_users_settings_of_the_heap_stay():
    # One fault per 4 KiB of two times 24 MiB.
    assert min(result_of("keep_freed_memory() or of_blocks()", MALLOC_MMAP_THRESHOLD_="131072")) > 10_000


def test_only_calls_of_many_rows_change_the_heap(monkeypatch):
    calls = []
    monkeypatch.setattr(many_rows, "keep_freed_memory", lambda: calls.append(1))
    model = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)).eval()
    ids = torch.zeros(1, heap.LEAST_ROWS, dtype=torch.long)
    model(ids)  # with gradients
    with torch.no_grad():
        model(ids[:, 1:])
        assert not calls
        model(ids)
        assert calls
        calls.clear()
        quantized(model)(ids)
        assert calls


def test_too_little_memory_is_not_an_error(monkeypatch):
    def refused(size):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "UntypedStorage", refused)
    heap.keep_freed_memory.__wrapped__()


def test_threads_may_ask_for_it_together():
    heap.keep_freed_memory.cache_clear()
    threads = [threading.Thread(target=heap.keep_freed_memory) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heap.keep_freed_memory.cache_info().currsize == 1


@pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")
def test_copies_of_weights_ask_for_huge_pages(monkeypatch):
    asked = []
    monkeypatch.setattr(few_rows, "use_huge_pages", lambda: asked.append(1))
    monkeypatch.setattr(few_rows, "LEAST_AHEAD", 32 * 24 * 4)
    monkeypatch.setattr(few_rows, "MOST_AHEAD", 32 * 48 * 4)
    monkeypatch.setattr(few_rows, "MOST_IN_PIECES", 32 * 130 * 4)
    monkeypatch.setattr(few_rows, "PIECE", 4)
    for outputs, calls in (24, 1), (48, 1), (49, 2), (97, 3), (130, 3), (23, 0), (131, 0):
        layer, x = nn.Linear(32, outputs), torch.ones(2, 32)
        asked.clear()
        with torch.no_grad(), few_rows.PackedProducts(layer, 2):
            for _ in range(2):
                torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)
        assert len(asked) == calls
        layer.bias = None
        with torch.no_grad(), few_rows.PackedProducts(layer, 2):
            torch.testing.assert_close(layer(x[None]), (x @ layer.weight.T)[None])


def test_systems_without_huge_pages(monkeypatch):
    monkeypatch.setattr(heap, "_madvise", lambda: None)
    heap.use_huge_pages()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert heap._madvise.__wrapped__() is None


def test_rounded_weights_ask_for_huge_pages(monkeypatch):
    asked = []
    monkeypatch.setattr(quantization, "use_huge_pages", lambda: asked.append(1))
    monkeypatch.setattr(quantization, "LEAST_AHEAD", 32 * 24)
    monkeypatch.setattr(quantization, "MOST_AHEAD", 32 * 48)
    for outputs, calls in (23, 0), (24, 1), (48, 1), (49, 0):
        asked.clear()
        layer = quantization.Int8Linear(nn.Linear(32, outputs))
        assert len(asked) == calls
        copy.deepcopy(layer)
        assert len(asked) == 2 * calls
