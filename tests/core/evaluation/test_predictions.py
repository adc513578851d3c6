from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from era_cli.core.data.dataset import Dataset, content_hash
from era_cli.core.evaluation import predictions
from era_cli.core.evaluation.predictions import Predictions
from era_cli.core.evaluation.trained_run import Subset, TrainedRun
from era_cli.core.networks import checkpoint
from era_cli.errors import EraError
from era_cli.listener import Listener
from era_cli.runs import artifacts
from era_cli.runs.run import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def light_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with checkpoints that hold no optimizer, to be read faster."""
    path = tmp_path_factory.mktemp("light") / "run"
    shutil.copytree(finished_run, path, ignore=shutil.ignore_patterns("*.ckpt"))
    state = checkpoint.read(finished_run / "checkpoints" / artifacts.BEST)
    light = {name: state[name] for name in ("state_dict", "global_step")}
    checkpoint.write(light, path / "checkpoints" / artifacts.BEST)
    return path


def copied(run: Path, to: Path) -> Run:
    """A copy to be written to; the checkpoints are second names of the originals and must be replaced whole."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.ckpt"))
    (to / "checkpoints" / artifacts.BEST).hardlink_to(run / "checkpoints" / artifacts.BEST)
    return Run(to)


@pytest.fixture
def run(light_run: Path, tmp_path: Path) -> Run:
    return copied(light_run, tmp_path / "run")


@pytest.fixture
def trained(run: Run) -> TrainedRun:
    return TrainedRun(run, run.checkpoints / artifacts.BEST, CPU)


@pytest.fixture
def subset(trained: TrainedRun) -> Subset:
    """A dozen images of its test split: evaluating them takes no time."""
    whole = trained.subset("test", None, Listener())
    return dataclasses.replace(whole, indices=whole.indices[:12])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Within it no network can be loaded, so that nothing can be computed."""

    def load(self: TrainedRun) -> NoReturn:
        raise AssertionError("the network was loaded")

    @contextlib.contextmanager
    def forbidden() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(TrainedRun, "weights", property(load))
            yield

    return forbidden


NoNetwork = Callable[[], contextlib.AbstractContextManager[None]]


def ask(trained: TrainedRun, subset: Subset, tta: str = "none") -> Predictions:
    return predictions.load_or_compute(trained, subset, tta, Listener())


def same(one: Predictions, other: Predictions) -> bool:
    """Whether both give the same answers, to the last bit and in the same types."""
    pairs = [(getattr(one.evaluation, name), getattr(other.evaluation, name)) for name in ("index", "labels", "logits")]
    return one.evaluation.classes == other.evaluation.classes and all(
        mine.dtype == yours.dtype and np.array_equal(mine, yours) for mine, yours in pairs
    )


# Kept


def test_computed_predictions_are_reused(trained: TrainedRun, subset: Subset, no_network: NoNetwork) -> None:
    first = ask(trained, subset)
    with no_network():
        second = ask(trained, subset)
    assert first.seconds is not None
    assert second.seconds is None
    assert same(first, second)
    assert (first.file, first.step) == (second.file, second.step)


def test_the_predictions_of_fit_are_reused(finished_run: Path, no_network: NoNetwork) -> None:
    trained = TrainedRun(Run(finished_run), finished_run / "checkpoints" / artifacts.BEST, CPU)
    with no_network():
        kept = ask(trained, trained.subset("test", None, Listener()))
    assert kept.seconds is None
    assert kept.evaluation.accuracy == trained.document.as_dict()["result"]["test_acc"]
    assert kept.step == trained.document.as_dict()["result"]["best_epoch"] * trained.document.steps_per_epoch


@pytest.mark.parametrize("tta", ["flip", "flip-shift"])
def test_each_augmentation_has_its_own_file(
    trained: TrainedRun, subset: Subset, tta: str, no_network: NoNetwork
) -> None:
    plain, augmented = ask(trained, subset), ask(trained, subset, tta)
    assert augmented.file.name == f"predictions-test-{tta}.npz"
    assert not np.array_equal(plain.evaluation.logits, augmented.evaluation.logits)
    with no_network():
        assert same(ask(trained, subset), plain)
        assert same(ask(trained, subset, tta), augmented)


def test_each_split_and_each_checkpoint_has_its_own_file(run: Run, subset: Subset) -> None:
    best, last = (TrainedRun(run, run.checkpoints / f"{name}.ckpt", CPU) for name in ("best", "last"))
    train = dataclasses.replace(subset, name="train")
    labels = [
        predictions.label(*case, "none") for case in ((best, subset), (best, train), (last, subset), (last, train))
    ]
    assert labels == ["test", "train", "test-last", "train-last"]


def test_the_file_holds_plain_arrays(trained: TrainedRun, subset: Subset) -> None:
    kept = ask(trained, subset)
    with np.load(kept.file, allow_pickle=False) as arrays:
        stored = dict(arrays)
    assert {name: (array.dtype, array.shape) for name, array in stored.items() if name != "computed_from"} == {
        "index": (np.dtype(np.int64), (12,)),
        "true": (np.dtype(np.int64), (12,)),
        "logits": (np.dtype(np.float32), (12, 10)),
    }
    assert np.array_equal(stored["index"], subset.dataset.source_index(subset.indices))
    assert np.array_equal(stored["true"], subset.dataset.labels[subset.indices])
    assert np.array_equal(stored["logits"], kept.evaluation.logits)
    origin = json.loads(str(stored["computed_from"]))
    assert origin["classes"] == [str(digit) for digit in range(10)]
    assert origin["step"] == checkpoint.read(trained.checkpoint)["global_step"]


def test_odd_class_names_survive(trained: TrainedRun, subset: Subset, no_network: NoNetwork) -> None:
    names = (r"$\frac{$", "dog[/]", "\"'`", "x" * 60, "猫", "\x1b[31mred", "caf\udce9", "é", "", "null")
    odd = dataclasses.replace(subset, dataset=dataclasses.replace(subset.dataset, classes=names))
    assert ask(trained, odd).evaluation.classes == names
    with no_network():
        assert ask(trained, odd).evaluation.classes == names


# Never stale: each test says what changed after the predictions were kept


def retaught(source: Path, target: Path) -> None:
    """Writes the checkpoint with one weight moved by a thousandth; nothing else about the file differs."""
    state = checkpoint.read(source)
    weights = [name for name in state["state_dict"] if name.endswith("weight")]
    state["state_dict"][weights[-1]].view(-1)[0] += 1e-3
    checkpoint.write(state, target)


def test_a_replaced_checkpoint_is_evaluated_afresh(run: Run, trained: TrainedRun, subset: Subset) -> None:
    before = ask(trained, subset)
    times = trained.checkpoint.stat()
    retaught(trained.checkpoint, trained.checkpoint)
    os.utime(trained.checkpoint, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert trained.checkpoint.stat().st_size == times.st_size
    trained = dataclasses.replace(trained)  # as opened by another command
    after = ask(trained, subset)
    assert after.seconds is not None
    assert not np.array_equal(before.evaluation.logits, after.evaluation.logits)
    assert same(ask(trained, subset), after)


def test_checkpoints_of_one_name_are_told_apart(run: Run, trained: TrainedRun, subset: Subset, tmp_path: Path) -> None:
    ask(trained, subset)
    retaught(trained.checkpoint, tmp_path / artifacts.BEST)
    other = TrainedRun(run, tmp_path / artifacts.BEST, CPU)
    kept = ask(other, subset)
    assert kept.seconds is not None
    assert same(ask(trained, subset), predictions.compute(trained, subset, "none", Listener()))


def test_other_images_are_evaluated_afresh(trained: TrainedRun, subset: Subset) -> None:
    ask(trained, subset)
    other = dataclasses.replace(subset, indices=subset.indices + 1)
    kept = ask(trained, other)
    assert kept.seconds is not None
    assert np.array_equal(kept.evaluation.labels, subset.dataset.labels[subset.indices + 1])


def test_another_order_is_evaluated_afresh(trained: TrainedRun, subset: Subset) -> None:
    first = ask(trained, subset)
    turned = ask(trained, dataclasses.replace(subset, indices=subset.indices[::-1]))
    assert np.array_equal(turned.evaluation.index, first.evaluation.index[::-1])
    assert np.array_equal(turned.evaluation.labels, first.evaluation.labels[::-1])


def altered(dataset: Dataset, **changes: Any) -> Dataset:
    dataset = dataclasses.replace(dataset, **changes)
    return dataclasses.replace(
        dataset, content_hash=content_hash(dataset.classes, dataset.images, dataset.labels, dataset.test)
    )


def test_changed_pixels_or_labels_are_evaluated_afresh(trained: TrainedRun, subset: Subset) -> None:
    first = ask(trained, subset)
    images, labels = subset.dataset.images.copy(), subset.dataset.labels.copy()
    images[subset.indices[0]] = 255 - images[subset.indices[0]]
    labels[subset.indices[0]] = (labels[subset.indices[0]] + 1) % 10
    repainted = ask(trained, dataclasses.replace(subset, dataset=altered(subset.dataset, images=images)))
    assert repainted.seconds is not None
    assert np.flatnonzero((repainted.evaluation.logits != first.evaluation.logits).any(axis=1)).tolist() == [0]
    renamed = ask(trained, dataclasses.replace(subset, dataset=altered(subset.dataset, labels=labels)))
    assert renamed.seconds is not None
    assert np.flatnonzero(renamed.evaluation.labels != first.evaluation.labels).tolist() == [0]


@pytest.mark.parametrize("name", ["mean", "std"])
def test_another_normalization_is_evaluated_afresh(run: Run, trained: TrainedRun, subset: Subset, name: str) -> None:
    first = ask(trained, subset)
    data: Any = trained.document.data
    first_two, last = getattr(data, name)[:2], getattr(data, name)[2]
    run.update(data=dataclasses.replace(data, **{name: (*first_two, last + 0.01)}))
    kept = ask(TrainedRun(run, trained.checkpoint, CPU), subset)
    assert kept.seconds is not None
    assert not np.array_equal(kept.evaluation.logits, first.evaluation.logits)


def test_another_logit_scale_is_evaluated_afresh(run: Run, trained: TrainedRun, subset: Subset) -> None:
    first = ask(trained, subset)
    recipe = trained.document.recipe
    run.update(recipe=dataclasses.replace(recipe, logit_scale=recipe.logit_scale * 2))
    kept = ask(TrainedRun(run, trained.checkpoint, CPU), subset)
    assert np.array_equal(kept.evaluation.logits, first.evaluation.logits * 2)


def test_a_renamed_file_is_not_reused(trained: TrainedRun, subset: Subset) -> None:
    flip = ask(trained, subset, "flip")
    plain = ask(trained, subset)
    plain.file.unlink()
    flip.file.rename(plain.file)
    assert same(ask(trained, subset), plain)
    assert not same(ask(trained, subset), flip)


def test_a_file_of_another_format_is_recomputed(
    trained: TrainedRun, subset: Subset, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(trained, subset)
    monkeypatch.setattr(predictions, "FORMAT", predictions.FORMAT + 1)
    assert ask(trained, subset).seconds is not None
    assert ask(trained, subset).seconds is None


# Damaged


sprung: list[str] = []


def spring() -> None:
    sprung.append("sprung")


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> Any:
        return spring, ()


@pytest.mark.parametrize("name", ["computed_from", "logits"])
def test_a_file_with_pickles_is_replaced_unread(trained: TrainedRun, subset: Subset, name: str) -> None:
    wanted = ask(trained, subset)
    bomb = np.array([Bomb()], dtype=object)
    wanted.file.write_bytes(with_arrays(wanted.file.read_bytes(), **{name: bomb}))
    with np.load(wanted.file, allow_pickle=True) as arrays:
        assert arrays[name].shape == (1,)
    assert sprung.pop() == "sprung"  # the bomb is a real one
    assert same(ask(trained, subset), wanted)
    assert sprung == []
    with np.load(wanted.file, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["logits"], wanted.evaluation.logits)


@pytest.fixture(scope="module")
def store(light_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedRun, Subset, Predictions, bytes]:
    """A run with kept predictions of a dozen images, and the bytes of their file."""
    run = copied(light_run, tmp_path_factory.mktemp("store") / "run")
    trained = TrainedRun(run, run.checkpoints / artifacts.BEST, CPU)
    whole = trained.subset("test", None, Listener())
    subset = dataclasses.replace(whole, indices=whole.indices[:12])
    kept = ask(trained, subset)
    return trained, subset, kept, kept.file.read_bytes()


Store = tuple[TrainedRun, Subset, Predictions, bytes]


class Recomputed(Exception):
    """The stored predictions were not believed."""


def believed(store: Store, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Predictions | None:
    """What is kept of a file with `content`; None where it would be computed anew."""
    trained, subset, kept, whole = store

    def anew(*given: Any, **options: Any) -> NoReturn:
        raise Recomputed

    kept.file.write_bytes(content)
    try:
        with monkeypatch.context() as patch:
            # Neither the checkpoint nor the images change here, and hashing them is what takes the time.
            origin = {"fingerprint": json.loads(json.dumps(fingerprint_of(whole)))}
            patch.setattr(predictions, "_fingerprint", lambda *given: origin["fingerprint"])
            patch.setattr(predictions, "compute", anew)
            return ask(trained, subset)
    except Recomputed:
        return None
    finally:
        kept.file.write_bytes(whole)


def fingerprint_of(content: bytes) -> Any:
    with np.load(io.BytesIO(content)) as arrays:
        return json.loads(str(arrays["computed_from"]))["fingerprint"]


def with_arrays(content: bytes, **arrays: Any) -> bytes:
    """The same file with `arrays` in place of those it holds; None leaves one out."""
    with np.load(io.BytesIO(content)) as old:
        kept = {**old, **arrays}
    new = io.BytesIO()
    np.savez(new, **{name: array for name, array in kept.items() if array is not None})
    return new.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"\x80\x04N.", b"\x93NUMPY\x01\x00"])
def test_a_foreign_file_is_recomputed(store: Store, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert believed(store, content, monkeypatch) is None


@pytest.mark.parametrize("name", ["computed_from", "index", "true", "logits"])
def test_a_missing_array_is_recomputed(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert believed(store, with_arrays(store[3]), monkeypatch) is not None
    assert believed(store, with_arrays(store[3], **{name: None}), monkeypatch) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"fingerprint"', '{"fingerprint": {}}'])
def test_a_file_without_its_origin_is_recomputed(store: Store, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert believed(store, with_arrays(store[3], computed_from=np.array(text)), monkeypatch) is None


@pytest.mark.parametrize(
    "arrays", [{"true": np.zeros(3, np.int64)}, {"logits": np.zeros((12, 3), np.float32)}], ids=["images", "classes"]
)
def test_mismatched_arrays_are_recomputed(
    store: Store, arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert believed(store, with_arrays(store[3], **arrays), monkeypatch) is None


def test_a_truncated_file_is_recomputed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store[3]
    assert believed(store, whole, monkeypatch) is not None
    for length in range(0, len(whole), 83):
        assert believed(store, whole[:length], monkeypatch) is None, length


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_does_no_harm(store: Store, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store[3]
    content = bytearray(whole)
    content[data.draw(st.integers(0, len(whole) - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    kept = believed(store, bytes(content), monkeypatch)
    assert kept is None or same(kept, store[2])


def test_a_wrong_shape_in_a_header_is_recomputed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store[3]
    assert whole.count(b"(12, 10)") == 1
    for shape in (b"(11, 10)", b"(12, 1) ", b"(10, 12)"):
        kept = believed(store, whole.replace(b"(12, 10)", shape), monkeypatch)
        assert kept is None, shape


def test_an_encrypted_or_oddly_packed_file_is_recomputed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store[3]
    entry = whole.index(b"PK\x01\x02")  # the first line of the archive's list of contents
    for offset, value in ((6, 173), (8, 1), (10, 99)):  # version needed, flags, method
        content = bytearray(whole)
        content[entry + offset] = value
        assert believed(store, bytes(content), monkeypatch) is None, offset


def test_weights_without_a_step_are_evaluated(run: Run, subset: Subset, tmp_path: Path, no_network: NoNetwork) -> None:
    weights = {"state_dict": checkpoint.read(run.checkpoints / artifacts.BEST)["state_dict"]}
    checkpoint.write(weights, tmp_path / "weights.ckpt")
    trained = TrainedRun(run, tmp_path / "weights.ckpt", CPU)
    assert ask(trained, subset).step is None
    with no_network():
        assert ask(trained, subset).step is None


def test_nothing_half_written_is_left(run: Run, trained: TrainedRun, subset: Subset, no_network: NoNetwork) -> None:
    ask(trained, subset).file.unlink()
    with no_network(), pytest.raises(AssertionError, match="the network was loaded"):
        ask(trained, subset)
    assert not (run.path / "predictions-test.npz").exists()
    assert list(run.path.rglob("*.partial")) == []


def test_a_network_with_nan_logits_is_refused(trained: TrainedRun, subset: Subset) -> None:
    state = checkpoint.read(trained.checkpoint)
    state["state_dict"]["network.linear.bias"][3] = math.nan
    trained.checkpoint.unlink()
    checkpoint.write(state, trained.checkpoint)
    with pytest.raises(EraError, match="NaN or infinite"):
        ask(trained, subset)
    assert not list(trained.run.path.glob("predictions-test*.npz.*"))


def test_predictions_that_cannot_be_cached_are_returned(trained: TrainedRun, subset: Subset) -> None:
    heard: list[str] = []

    class Ear(Listener):
        def note(self, text: str) -> None:
            heard.append(text)

    first = ask(trained, subset, "flip")
    first.file.unlink()
    first.file.mkdir()  # nothing can be renamed onto a folder
    second = predictions.load_or_compute(trained, subset, "flip", Ear())
    assert same(first, second)
    assert "not cached" in " ".join(heard)
