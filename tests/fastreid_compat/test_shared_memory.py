"""Where /dev/shm is small or full, loaders go on without it, or say so; none waits for ever."""

from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from fastreid.data import build
from fastreid_compat.repairs.loading.prefetch import PrefetchLoader
from fastreid_compat.repairs.loading.workers import WorkerLoader
from reid_common.errors import UserError
from torch.utils.data import Dataset, default_collate

FULL = "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"


class Samples(Dataset):
    """Tensors of several types, and what is no tensor."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        image = torch.full((3, 64, 32), index, dtype=torch.uint8)
        mask = torch.tensor(index % 2 == 0)
        half = torch.full((5,), index / 4, dtype=torch.bfloat16)
        path = f"{index}.jpg"
        return {"images": image, "mask": mask, "half": half, "path": path, "pair": (index, image)}


def stacked(samples: list) -> tuple:
    """As the collate functions of extraction and scoring: tensors that are not shared."""
    images = torch.stack([sample["images"] for sample in samples])
    return [sample["path"] for sample in samples], images, None


def fastreid_loader(collate):
    return PrefetchLoader(0, dataset=Samples(), batch_size=2, num_workers=2, collate_fn=collate)


def plain_loader(collate):
    return WorkerLoader(Samples(), batch_size=2, num_workers=2, collate_fn=collate)


def in_time(function):
    """The result of ``function``, which may not wait for ever."""
    results: list = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert results, "it waits for ever"
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


@pytest.fixture
def no_room(monkeypatch):
    def fail(*args):
        raise RuntimeError(FULL)

    for name in ("_share_fd_cpu_", "_new_using_fd_cpu", "_share_filename_cpu_"):
        monkeypatch.setattr(torch.UntypedStorage, name, fail)


@pytest.mark.parametrize("make", [fastreid_loader, plain_loader])
@pytest.mark.parametrize("collate", [build.fast_batch_collator, default_collate])
def test_batches_arrive_without_shared_memory(make, collate, no_room):
    batches = in_time(lambda: list(make(collate)))
    assert [batch["path"] for batch in batches] == [[f"{i}.jpg", f"{i + 1}.jpg"] for i in (0, 2, 4)]
    for number, batch in enumerate(batches):
        expected = default_collate([Samples()[2 * number], Samples()[2 * number + 1]])
        for key in ("images", "mask", "half"):
            assert (
                torch.equal(batch[key], expected[key]) and batch[key].dtype == expected[key].dtype
            )
        assert torch.equal(batch["pair"][1], expected["images"])
        batch["images"].add_(1)  # and may be written to


def test_as_do_tensors_that_a_collate_function_made_itself(no_room):
    batches = in_time(lambda: list(plain_loader(stacked)))
    assert [names[0] for names, _, _ in batches] == ["0.jpg", "2.jpg", "4.jpg"]
    assert [int(images[1, 0, 0, 0]) for _, images, _ in batches] == [1, 3, 5]


class Unsendable:
    def __init__(self, samples: list) -> None:
        self.tensor = samples[0]["images"]

    def __reduce__(self):
        raise RuntimeError(FULL)


@pytest.mark.parametrize("make", [fastreid_loader, plain_loader])
def test_a_batch_that_cannot_be_sent_is_an_error_that_says_what_to_do(make):
    with pytest.raises(UserError, match=r"/dev/shm has .*--shm-size.*NUM_WORKERS 0"):
        in_time(lambda: list(make(Unsendable)))


@pytest.mark.parametrize("make", [fastreid_loader, plain_loader])
@pytest.mark.parametrize("allowed", [0, 5])
def test_no_room_for_the_workers_locks_is_said_at_the_start(make, allowed, monkeypatch):
    released, made = multiprocessing.synchronize.SemLock.__init__, []

    def some(self, *args, **kwargs):
        made.append(self)
        if len(made) > allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        released(self, *args, **kwargs)

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", some)
    with pytest.raises(UserError, match=r"No space left.*--shm-size"):
        in_time(lambda: list(make(default_collate)))


SCRIPT = """
import reid_core, test_shared_memory as t
from fastreid.data import build
for make in (t.fastreid_loader, t.plain_loader):
    for collate in (build.fast_batch_collator, t.stacked):
        if make is t.plain_loader or collate is not t.stacked:
            assert len(list(make(collate))) == 3
print("all arrived")
"""


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid(), reason="mounting needs root")
def test_a_dev_shm_of_128_kb_in_truth(tmp_path):
    mount = "mount -t tmpfs -o size=128k tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = f"{mount} && exec timeout 100 {sys.executable} {tmp_path}/script.py"
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert "all arrived" in done.stdout, done.stderr[-2000:]
    assert "/dev/shm is full" in done.stderr
