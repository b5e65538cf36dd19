"""Loaders on a CPU: errors arrive, nothing hangs, all types collate, bad images are named."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import python_forks
import torch
from fastreid.data import build, data_utils
from fastreid_compat.repairs.loading import prefetch
from fastreid_compat.repairs.loading import workers as worker_loaders
from fastreid_compat.repairs.loading.batches import collate
from PIL import Image
from reid_common.errors import UserError
from torch.utils.data import BatchSampler, Dataset, SequentialSampler

SECONDS = 60  # after which a wait counts as a hang


def in_time(function):
    """Return function(), or fail if it hangs."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function).result(timeout=SECONDS)
    finally:
        pool.shutdown(wait=False)


class Numbers(Dataset):
    """Item i is i; the item ``bad`` raises."""

    def __init__(self, size=8, bad=None, error=None):
        self.size, self.bad, self.error = size, bad, error

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.bad:
            raise self.error
        return {"images": torch.full((2,), float(index)), "targets": index}


def loader(dataset, workers, sampler=None, collate_fn=None):
    batches = BatchSampler(sampler or SequentialSampler(dataset), 2, False)
    return data_utils.DataLoaderX(
        0,
        dataset=dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_fn or build.fast_batch_collator,
        pin_memory=True,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_all_batches_in_order(workers):
    batches = in_time(lambda: list(loader(Numbers(7), workers)))
    assert [batch["targets"].tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5], [6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_second_iteration_starts_anew(workers):
    batches = loader(Numbers(), workers)
    in_time(lambda: next(iter(batches)))
    assert in_time(lambda: len(list(batches))) == 4
    batches.shutdown()


def test_a_worker_that_ends_badly_while_it_is_being_ended_does_not_matter():
    """Killed between two batches of an iteration that is given up: no RuntimeError later."""
    # What the first loader that is iterated in the main thread does:
    torch.utils.data._utils.signal_handling._set_SIGCHLD_handler()
    # More than is kept ready: else torch may end its workers before it is told to.
    batches = loader(Numbers(6 * prefetch.MAX_PREFETCH), 2)
    in_time(lambda: next(iter(batches)))
    inner = batches.iter

    def kill_and_join(worker, join, timeout=None):
        worker.kill()
        time.sleep(0.2)  # torch hears of it by a signal
        join(timeout)

    for worker in inner._workers:
        worker.join = functools.partial(kill_and_join, worker, worker.join)
    assert in_time(lambda: len(list(batches))) == 3 * prefetch.MAX_PREFETCH
    batches.shutdown()


def test_nor_after_the_last_batch_when_torch_ends_it(monkeypatch):
    """What torch's handler would raise in the main thread, at the moment at which it would."""
    iterator = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    shutdown, errors = iterator._shutdown_workers, []

    def kill_and_shut_down(inner):
        for worker in inner._workers:
            worker.kill()
        time.sleep(0.2)
        try:
            torch.utils.data._utils.signal_handling._error_if_any_worker_fails()
        except RuntimeError as error:
            errors.append(error)
        shutdown(inner)

    monkeypatch.setattr(iterator, "_shutdown_workers", kill_and_shut_down)
    batches = loader(Numbers(), 2)
    assert in_time(lambda: len(list(batches))) == 4
    batches.shutdown()
    assert errors == []


@pytest.mark.parametrize("workers", [0, 2])
def test_error_in_dataset_arrives_in_its_turn(workers):
    batches = iter(loader(Numbers(8, 4, ZeroDivisionError("item 4")), workers))
    assert in_time(lambda: next(batches))["targets"].tolist() == [0, 1]
    assert in_time(lambda: next(batches))["targets"].tolist() == [2, 3]
    for _ in range(2):  # and again, rather than a wait for ever
        with pytest.raises(ZeroDivisionError, match="item 4"):
            in_time(lambda: next(batches))
    batches.shutdown()


@pytest.mark.parametrize("workers", [0, 2])
def test_user_error_has_its_own_message(workers):
    batches = loader(Numbers(8, 0, UserError("image 'a.jpg' is truncated: delete it")), workers)
    with pytest.raises(UserError) as raised:
        in_time(lambda: list(batches))
    assert str(raised.value) == "image 'a.jpg' is truncated: delete it"


@pytest.mark.parametrize("workers", [0, 2])
def test_error_in_sampler_arrives(workers):
    def indices():
        yield from range(16)  # more than is asked for when the workers start
        raise LookupError("sampler")

    class Sampler:
        def __iter__(self):
            return indices()

    with pytest.raises(LookupError, match="sampler"):
        in_time(lambda: list(loader(Numbers(16), workers, Sampler())))


def bad_collate(samples):
    raise ArithmeticError("collator")


@pytest.mark.parametrize("workers", [0, 2])
def test_error_in_collator_arrives(workers):
    with pytest.raises(ArithmeticError, match="collator"):
        in_time(lambda: list(loader(Numbers(), workers, collate_fn=bad_collate)))


def test_workers_and_threads_end_with_the_loader():
    before = set(threading.enumerate())
    batches = iter(loader(Numbers(400), 2))
    next(batches)
    workers = batches.iter._workers
    assert all(worker.is_alive() for worker in workers)
    del batches
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)
    # Threads that feed the queues of workers end a moment later.
    deadline = time.monotonic() + SECONDS
    while not set(threading.enumerate()) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_a_forked_copy_leaves_the_workers_alone():
    """As of a loader that is waiting for its garbage collection when another forks workers."""
    batches = iter(loader(Numbers(400), 2))
    in_time(lambda: next(batches))
    child = torch.multiprocessing.get_context("fork").Process(target=batches.shutdown)
    child.start()
    child.join(SECONDS)
    assert child.exitcode == 0
    rest = iter(batches.__next__, None)  # not iter(batches), which would start again
    assert in_time(lambda: sum(1 for _ in rest)) == 199
    batches.shutdown()


def test_workers_that_hang_are_killed(monkeypatch):
    monkeypatch.setattr(worker_loaders, "GRACE_SECONDS", 0.1)

    class Hanging(Numbers):
        def __getitem__(self, index):
            if index > 3:
                time.sleep(10 * SECONDS)
            return super().__getitem__(index)

    batches = loader(Hanging(), 2)
    in_time(lambda: next(iter(batches)))
    workers = batches.iter._workers
    in_time(batches.shutdown)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 2


def test_no_pinned_memory_without_cuda(monkeypatch, recwarn):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    in_time(lambda: list(loader(Numbers(), 0)))
    assert not [warning for warning in recwarn if "pin" in str(warning.message)]


def run_script(path, code):
    path.write_text(textwrap.dedent(code))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=path.parent,
    )


def test_exit_with_running_loader(tmp_path):
    """The interpreter ends though a worker is busy and the consumer stopped early."""
    done = run_script(
        tmp_path / "early.py",
        """
        import time
        import fastreid_compat
        from fastreid.data.data_utils import DataLoaderX

        class Slow:
            def __len__(self): return 1000
            def __getitem__(self, index):
                time.sleep(100000 if index > 3 else 0)
                return index

        loader = DataLoaderX(0, dataset=Slow(), num_workers=1, batch_size=2)
        iterator = iter(loader)
        loader.batch = {}  # FastReID's loaders give dicts
        print("stopped early")
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "stopped early" in done.stdout


def test_spawned_workers_need_no_help(tmp_path, market_root):
    """A worker that does not inherit the patched modules unpickles data set and collator."""
    script = tmp_path / "spawned.py"
    code = f"""
        if __name__ == "__main__":
            import fastreid_compat
            from fastreid.config import get_cfg
            from fastreid.data import CommDataset, build
            from fastreid.data.data_utils import DataLoaderX
            from fastreid.data.datasets import DATASET_REGISTRY

            cfg = get_cfg()
            cfg.INPUT.SIZE_TRAIN = [64, 32]
            cfg.INPUT.AUTOAUG.ENABLED = True
            data = DATASET_REGISTRY.get("Market1501")(root={str(market_root)!r})
            images = CommDataset(data.train, build.build_transforms(cfg), relabel=True)
            loader = DataLoaderX(0, dataset=images, num_workers=1, batch_size=4, pin_memory=True,
                collate_fn=build.fast_batch_collator, multiprocessing_context="spawn")
            print([tuple(batch["images"].shape) for batch in loader][0])
        """
    script.write_text(textwrap.dedent(code))
    done = python_forks.run(script)  # what it starts is a new interpreter
    assert done.returncode == 0, done.stderr
    assert "(4, 3, 64, 32)" in done.stdout


def test_collate_types():
    sample = {
        "tensor": torch.ones(2),
        "int": 3,
        "bool": True,
        "float": 0.5,
        "numpy int": np.int64(4),
        "array": np.zeros(3, np.float32),
        "text": "a.jpg",
        "pair": (1, "b"),
        "nested": {"x": 1},
    }
    batch = collate([sample, sample])
    assert batch["tensor"].shape == (2, 2)
    assert torch.equal(batch["int"], torch.tensor([3, 3]))
    assert torch.equal(batch["bool"], torch.tensor([True, True]))
    assert torch.equal(batch["float"], torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert torch.equal(batch["numpy int"], torch.tensor([4, 4]))
    assert batch["array"].shape == (2, 3) and batch["array"].dtype == torch.float32
    assert batch["text"] == ["a.jpg", "a.jpg"]
    assert torch.equal(batch["pair"][0], torch.tensor([1, 1])) and batch["pair"][1] == ["b", "b"]
    assert torch.equal(batch["nested"]["x"], torch.tensor([1, 1]))


@pytest.mark.parametrize("value", [None, object(), {1, 2}])
def test_collate_names_key_and_type(value):
    with pytest.raises(TypeError, match=f"'masks'.*{type(value).__name__}"):
        build.fast_batch_collator([{"masks": value}, {"masks": value}])


def jpeg(path, size=(40, 80)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


def damaged(path, how):
    content = jpeg(path)
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "not an image":
        path.write_text("404 not found")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "empty", "not an image", "does not exist"])
def test_damaged_image_is_named(tmp_path, how):
    path = tmp_path / "0001_c1s1_000001_00.jpg"
    damaged(path, how)
    with pytest.raises(UserError) as raised:
        data_utils.read_image(str(path))
    assert str(path) in str(raised.value) and how in str(raised.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_truncated_image_in_training(tiny_cfg, tmp_path, workers):
    path = tmp_path / "0001_c1s1_000001_00.jpg"
    damaged(path, "truncated")
    items = [(str(path), "a", "c_0")] * 8
    tiny_cfg.DATALOADER.NUM_WORKERS = workers
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    images = build.CommDataset(items, build.build_transforms(tiny_cfg))
    with pytest.raises(UserError) as raised:
        in_time(lambda: next(iter(build.build_reid_train_loader(tiny_cfg, train_set=images))))
    assert str(raised.value) == f"image {str(path)!r} is truncated; replace or delete it"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_images_of_every_mode_are_rgb(tmp_path, mode):
    path = tmp_path / "image.png"
    colour = Image.new("RGB", (8, 16), (200, 40, 120))
    if mode == "I;16":
        Image.fromarray(np.full((16, 8), 120 * 256, np.uint16)).save(path)
    else:
        colour.convert(mode).save(path)
    image = data_utils.read_image(str(path))
    assert image.mode == "RGB" and image.size == (8, 16)
    if mode in ("RGB", "P", "RGBA"):
        assert np.abs(np.subtract(image.getpixel((0, 0)), (200, 40, 120))).max() < 30
    if mode == "I;16":
        assert image.getpixel((0, 0)) == (120, 120, 120)


def test_rotation_of_exif_is_applied(tmp_path):
    image = Image.new("RGB", (8, 16))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert data_utils.read_image(str(tmp_path / "turned.jpg")).size == (16, 8)
