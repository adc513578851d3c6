"""Whether a checkpoint is a training state of its run: everything that training would use, compared with the run.

The checksums of a checkpoint find what a disk damages. They do not find a checkpoint of another run, or one that was
made up: a momentum buffer of another shape is a write out of bounds in torch's fused optimizers, and a missing part may
be found hours later. So nothing of a state is used before all of it has been checked.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from era_cli.core.fit import continuity, rows
from era_cli.core.fit.rows import Rows
from era_cli.core.networks import networks
from era_cli.core.training import optimizers, trainer
from era_cli.core.training.schedules import OneCycle
from era_cli.errors import EraError
from era_cli.recipes import Recipe
from era_cli.runs.document import RunDocument
from era_cli.text import plural

WRITER = "RunWriter"  # the callback whose state is kept

_KERNELS = ("fused", "foreach")  # of an optimizer: how it computes, which differs from processor to processor
_NEEDED = ("total_steps", "last_epoch", "_step_count", "base_lrs", "_last_lr")  # of a scheduler, in every torch
_TOLERANCE = 1e-9  # of numbers that another processor's mathematics may give otherwise in the last bit
_STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)


class _Misfit(Exception):
    """What of a state does not fit."""


def check(state: Mapping[str, Any], document: RunDocument, path: Path) -> None:
    """Refuses the training state that was read from `path` unless the run described by `document` can have written it.

    Raises:
        EraError: something in it is missing or differs from the run; the sentence says what.
    """
    counters = trainer.fresh_counters()
    try:
        _check(state, document, counters)
    except _Misfit as error:
        raise EraError(f"the checkpoint {path} does not match its run: {error}") from error
    except KeyError as error:
        raise EraError(f"the checkpoint {path} does not match its run: {str(error.args[0])[:80]} is missing") from error
    except _STRANGE as error:  # a part is of another type than in era's states
        raise EraError(f"the checkpoint {path} does not match its run: it is not an era training state") from error


def _check(state: Mapping[str, Any], document: RunDocument, counters: Mapping[str, Any]) -> None:
    recipe, steps = document.recipe, document.steps_per_epoch
    total, step = steps * recipe.epochs, state["global_step"]
    if type(step) is not int or not 1 <= step <= total:
        raise _Misfit(f"global_step is {_short(step)}, but the run has {total} steps")
    _compare(state["epoch"], (step - 1) // steps, "epoch")
    if not re.fullmatch(r"2(\.\d+){2}((a|b|rc|\.dev|\.post)\d+)?", state["pytorch-lightning_version"]):
        raise _Misfit("it was written by an unsupported version of Lightning")
    with torch.device("meta"):  # shapes alone
        network = networks.build(recipe, len(document.data.classes))
    _check_weights(state["state_dict"], network)
    optimizer = optimizers.build(recipe, network, torch.device("meta"))
    scheduler = _after(step, OneCycle(recipe, total)(optimizer))
    _check_optimizer(state["optimizer_states"], optimizer, recipe, step)
    if recipe.precision == "fp16" or document.device.precision == "fp16":
        _check_scaler(state["MixedPrecision"])
    _check_scheduler(state["lr_schedulers"], scheduler)
    _check_counters(state["loops"]["fit_loop"], counters, "loops")
    _check_loops(state["loops"]["fit_loop"], step, steps, document.data.counts.val)
    _check_callbacks(state["callbacks"], step, steps, recipe.batch_size)


def _check_weights(found: Mapping[str, Any], network: nn.Module) -> None:
    wanted = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    _check_names(found, wanted, "state_dict", all_of_them=True)
    for name, tensor in wanted.items():
        _check_tensor(found[name], tensor, name)


def _check_optimizer(found: Any, optimizer: Optimizer, recipe: Recipe, step: int) -> None:
    (own,) = _list(found, 1, "optimizer_states")
    wanted = optimizer.state_dict()["param_groups"]
    groups = _list(own["param_groups"], len(wanted), "param_groups of the optimizer")
    for number, (group, like) in enumerate(zip(groups, wanted, strict=True)):
        name = f"group {number} of the optimizer"
        _check_names(group, like, name, all_of_them=True)
        for kernel in _KERNELS:
            if group.get(kernel) not in (None, False, True):
                raise _Misfit(f"{kernel} of {name} is {_short(group[kernel])}")
        _compare(group, {key: value for key, value in like.items() if key not in _KERNELS}, name)
    parameters = [parameter for each in optimizer.param_groups for parameter in each["params"]]
    kept = _kept_for_each(recipe)
    states = own["state"]
    if recipe.precision == "fp16" and not states:  # its first steps may be skipped
        return
    if set(states) != set(range(len(parameters) if kept else 0)):
        raise _Misfit("the optimizer's state is not that of the network's parameters")
    blocks = set()
    for number, parameter in enumerate(parameters if kept else ()):
        _check_names(states[number], kept, f"the optimizer's state of parameter {number}", all_of_them=True)
        for key, like in kept.items():
            name = f"{key} of parameter {number}"
            tensor = states[number][key]
            if like.ndim:
                _check_tensor(tensor, parameter.to(like.dtype), name, memory=True)
            else:
                _check_tensor(tensor, like, name)
                if not (0 <= float(tensor) <= step):
                    raise _Misfit(f"{name} is {float(tensor):g}, after {step} steps")
            blocks.add(tensor.untyped_storage().data_ptr())
    if len(blocks) < len(parameters) * len(kept):
        raise _Misfit("two tensors of the optimizer share memory")


def _kept_for_each(recipe: Recipe) -> dict[str, Tensor]:
    """What the recipe's optimizer keeps for a parameter, seen at a small one: of its shape, or a single number."""
    example = nn.Linear(3, 2)
    optimizer = optimizers.build(recipe, example, torch.device("cpu"))
    for parameter in example.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return dict(optimizer.state_dict()["state"].get(0, {}))


def _after(step: int, scheduler: LRScheduler) -> LRScheduler:
    """The scheduler after so many steps."""
    scheduler.last_epoch, scheduler._step_count = step - 1, step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer made no step
        scheduler.step()
    return scheduler


def _check_scheduler(found: Any, scheduler: LRScheduler) -> None:
    (own,) = _list(found, 1, "lr_schedulers")
    wanted = scheduler.state_dict()
    # Other versions of torch keep other numbers there, but none by the name of a method.
    other = [key for key in own if isinstance(own[key], int | float) and not hasattr(scheduler, str(key))]
    _check_names({key: own[key] for key in own if key not in other}, wanted, "the scheduler")
    _compare(own, {key: wanted[key] for key in wanted if key in own or key in _NEEDED}, "the scheduler")


def _check_scaler(found: Mapping[str, Any]) -> None:
    for key in ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"):
        if not 0 <= _number(found[key], key) < math.inf:
            raise _Misfit(f"{key} of the loss scale is {_short(found[key])}")


def _check_loops(found: Mapping[str, Any], step: int, steps: int, val_count: int) -> None:
    """The counters of Lightning's loops, each of which may be one behind while a step or an epoch is being finished."""
    within = (step - 1) % steps + 1
    epoch_loop = "epoch_loop."
    _compare(found[f"{epoch_loop}batch_progress"]["total"]["processed"], step, "batch_progress")
    optimizer = found[f"{epoch_loop}automatic_optimization.optim_progress"]["optimizer"]
    _compare(optimizer["step"]["total"]["completed"], step, "optim_progress")
    counted = {
        "batch_progress": found[f"{epoch_loop}batch_progress"],
        "scheduler_progress": found[f"{epoch_loop}scheduler_progress"],
        "optimizer.step": optimizer["step"],
        "optimizer.zero_grad": optimizer["zero_grad"],
    }
    for name, progress in counted.items():
        _check_near(progress["total"], step, name)
        _check_near(progress["current"], within, name)
    _compare(counted["batch_progress"]["is_last_batch"], within == steps, "is_last_batch")
    _check_near(found[f"{epoch_loop}state_dict"], step, "the count of steps")
    for counts in ("total", "current"):
        _check_near(found["epoch_progress"][counts], -(-step // steps), "epoch_progress")
        values = set(found[f"{epoch_loop}val_loop.batch_progress"][counts].values())
        if len(values) != 1 or not 0 <= values.pop() <= val_count:
            raise _Misfit("the validation progress is not that of a complete validation")


def _check_counters(found: Any, like: Any, name: str) -> None:
    """Nested dictionaries of counts and switches, with no other keys than this version of Lightning knows."""
    if isinstance(like, dict):
        _check_names(found, like, name)
        for key, value in found.items():
            _check_counters(value, like[key], f"{name}.{key}")
    elif type(found) is not type(like) or (type(found) is int and not 0 <= found < 2**53):
        raise _Misfit(f"{name} is {_short(found)}")


def _check_near(counts: Mapping[str, int], wanted: int, name: str) -> None:
    for key, count in counts.items():
        if not wanted - 1 <= count <= wanted:
            raise _Misfit(f"{name} has {key} {count}, but should have {wanted}")


def _check_callbacks(found: Mapping[str, Any], step: int, steps: int, batch_size: int) -> None:
    _check_names(found, {WRITER: None}, "callbacks")
    own = found.get(WRITER, {})
    _check_names(own, dict.fromkeys(("steps", "seconds", "train_seconds", rows.KEY, continuity.KEY)), WRITER)
    if rows.KEY in own:
        try:
            kept = Rows.of_state(own[rows.KEY])
        except ValueError as error:
            raise _Misfit(str(error)) from error
        _check_rows(kept, step, step // steps)
    if continuity.KEY in own:
        try:
            continuity.of_state(own[continuity.KEY])
        except ValueError as error:
            raise _Misfit(str(error)) from error
    if not (within := step % steps):
        if "steps" in own:
            raise _Misfit("it holds part of an epoch, but was saved at the end of one")
        return
    for key in ("seconds", "train_seconds"):
        if not 0 <= _number(own[key], key) < math.inf:
            raise _Misfit(f"{key} is {_short(own[key])}")
    part = own["steps"]
    _check_tensor(part["losses"], torch.empty(within, device="meta"), "losses")
    _check_tensor(part["correct"], torch.empty(within, dtype=torch.int64, device="meta"), "correct")
    if not bool(((part["correct"] >= 0) & (part["correct"] <= batch_size)).all()):
        raise _Misfit("more images were classified correctly than there are")
    if not all(math.isfinite(_number(rate, "rates")) for rate in _list(part["rates"], within, "rates")):
        raise _Misfit("a learning rate is not finite")


def _check_rows(own: Rows, step: int, epochs: int) -> None:
    if [row.epoch for row in own.epochs] != list(range(1, epochs + 1)):
        raise _Misfit(f"its rows are not those of {plural(epochs, 'epoch')}")
    for row in own.epochs:
        numbers = [cell for cell in vars(row).values() if cell is not None]
        shares = [share for share in (row.train_acc, row.val_acc) if share is not None]
        if not all(map(math.isfinite, numbers)) or not all(0 <= share <= 1 for share in shares):
            raise _Misfit(f"its row of epoch {row.epoch} holds impossible numbers")
    numbered = [row.step for row in own.steps]
    if numbered != sorted(set(numbered)) or not set(numbered) <= set(range(1, step + 1)):
        raise _Misfit(f"its rows are not those of {plural(step, 'step')}")
    if not all(math.isfinite(row.lr) and math.isfinite(row.loss) for row in own.steps):
        raise _Misfit("a row of its steps is not finite")


def _check_tensor(found: Any, like: Tensor, name: str, *, memory: bool = False) -> None:
    """A plain finite tensor like the other one; with `memory` also laid out like it, as fused optimizers take it."""
    if type(found) is not Tensor or found.layout is not torch.strided or found.device.type != "cpu":
        raise _Misfit(f"{name} is not a tensor")
    if found.shape != like.shape or found.dtype != like.dtype:
        raise _Misfit(f"{name} is {_kind(found)}, but the run has {_kind(like)}")
    if found.requires_grad:
        raise _Misfit(f"{name} requires gradients")
    if memory and _strides(found) != _strides(like):
        raise _Misfit(f"{name} has a different memory layout from its parameter")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise _Misfit(f"{name} holds NaN or infinity")


def _strides(tensor: Tensor) -> list[int]:
    """Of the dimensions that have more than one place; the others' mean nothing."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {_cut(str(tuple(tensor.shape)))}"


def _compare(found: Any, wanted: Any, name: str) -> None:
    if isinstance(wanted, Mapping):
        for key, value in wanted.items():
            if key not in found:
                raise _Misfit(f"{name} lacks {key}")
            _compare(found[key], value, f"{key} of {name}")
    elif isinstance(wanted, list | tuple):
        for one, other in zip(_list(found, len(wanted), name), wanted, strict=True):
            _compare(one, other, name)
    elif isinstance(wanted, int | float) and not isinstance(wanted, bool):
        if not math.isclose(_number(found, name), wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE**2):
            raise _Misfit(f"{name} is {_short(found)}, but the run has {wanted}")
    elif type(found) is not type(wanted) or found != wanted:
        raise _Misfit(f"{name} is {_short(found)}, but the run has {_short(wanted)}")


def _check_names(found: Any, wanted: Mapping[Any, Any], name: str, *, all_of_them: bool = False) -> None:
    if not isinstance(found, Mapping):
        raise _Misfit(f"{name} is {_short(found)}")
    if unknown := [key for key in found if key not in wanted]:
        raise _Misfit(f"{name} has {_short(unknown[0])}, which the run does not have")
    if all_of_them and (missing := [key for key in wanted if key not in found]):
        raise _Misfit(f"{name} lacks {missing[0]}")


def _list(found: Any, length: int, name: str) -> Sequence[Any]:
    if not isinstance(found, list | tuple) or len(found) != length:
        raise _Misfit(f"{name} is not a list of {length}")
    return found


def _number(found: Any, name: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _Misfit(f"{name} is {_short(found)}, but must be a number")
    return found


def _short(value: Any) -> str:
    """A plain value in a sentence, of another its type."""
    if isinstance(value, str):
        return repr(_cut(value))
    return _cut(repr(value)) if isinstance(value, int | float | None) else type(value).__name__


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."
