"""Checkpoints: the state of training in one safetensors file, from which it resumes exactly."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsys_ae.core.trainer import Callback, Epoch, Training
from recsys_ae.digests import digest_of
from recsys_ae.errors import DataError, OutputError, reason
from recsys_ae.files import whole_file

AFFORDABLE = 20  # minimum seconds of training per second of writing checkpoints
# raised by safetensors, JSON and PyTorch for a file that is not a checkpoint of this training
UNREADABLE = SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError


class Checkpoint(Callback):
    """Resumes from `path` if it exists, and keeps it up to date.

    Written after each epoch, unless writing would take more than a twentieth of the time; the result of training does not
    depend on it. Each stage of a model has its own file, `path` with the name of the stage.

    Args:
        of: identifies model, parameters and data; a checkpoint with another value is refused.
    """

    def __init__(self, path: Path, of: str = "") -> None:
        self.path, self.of = path, of
        self._next = 0.0

    def on_start(self, training: Training[Any]) -> None:
        self._next = 0.0
        if (path := self._of(training)).exists():
            restore(training, path, self.of)

    def on_epoch(self, training: Training[Any]) -> None:
        started = perf_counter()
        if training.finished and training.stage:  # the next stage begins from here
            self._next = 0.0
        if started >= self._next:
            save(training, self._of(training), self.of)
            ended = perf_counter()
            self._next = ended + AFFORDABLE * (ended - started)

    def _of(self, training: Training[Any]) -> Path:
        return self.path.with_name(f"{self.path.name}-{training.stage}") if training.stage else self.path


def save(training: Training[Any], path: Path, of: str = "") -> None:
    """Write the state of `training` to `path`, atomically; only `restore` with the same `of` accepts it."""
    tensors: dict[str, Tensor] = {"generator": training.generator.get_state()}
    tensors |= {f"module.{name}": weight for name, weight in training.module.state_dict().items()}
    tensors |= {f"best.{name}": weight for name, weight in (training.best_weights or {}).items()}
    numbers = _flatten(training.optimiser.state_dict()["state"], "optimiser", tensors)
    facts = {
        "of": of,
        "stage": training.stage,
        "history": json.dumps([asdict(epoch) for epoch in training.history]),
        "config": json.dumps(asdict(training.config)),
        "optimiser": json.dumps(numbers),
    }
    with whole_file(path) as draft:
        try:
            save_file(tensors, draft, metadata={**facts, "digest": _digest(tensors, facts)})
        except SafetensorError as error:
            raise OutputError(f"cannot write {path}: {error}") from None


def restore(training: Training[Any], path: Path, of: str = "") -> None:
    """Restore the state that `save` wrote with the same `of`.

    Raises:
        DataError: the file is damaged, or belongs to another stage, module, `TrainConfig` or `of`.
    """
    remedy = "delete it to train this model from scratch"
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            # cloned, because sums may differ in the last digit with another memory alignment than PyTorch's
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        if facts.pop("digest", None) != _digest(tensors, facts):
            raise DataError(f"checkpoint {path} is damaged; {remedy}")
        if (facts["of"], facts["stage"]) != (of, training.stage):
            raise DataError(f"checkpoint {path} belongs to another model, stage or dataset; {remedy}")
        if json.loads(facts["config"]) != asdict(training.config):
            raise DataError(f"checkpoint {path} belongs to training with other settings; {remedy}")
        _load(training, facts, tensors)
    except UNREADABLE as error:
        raise DataError(f"{path} is not a checkpoint of this training ({reason(error)}); {remedy}") from None


def _load(training: Training[Any], facts: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Set the state of training to that of a checkpoint."""
    weights, best = _below("module", tensors), _below("best", tensors)
    own = training.module.state_dict()
    for found in (weights, best) if best else (weights,):
        check_weights(found, own)
    training.module.load_state_dict(weights)
    training.best_weights = best or None
    training.generator.set_state(tensors["generator"])
    state = _unflatten(json.loads(facts["optimiser"]), tensors)
    groups = training.optimiser.state_dict()["param_groups"]
    training.optimiser.load_state_dict({"state": state, "param_groups": groups})
    training.history[:] = [Epoch(**epoch) for epoch in json.loads(facts["history"])]


def check_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` unless both have the same names, and tensors of the same shapes and types."""
    if different := sorted(found.keys() ^ expected.keys()):
        raise ValueError(f"the weights {different[0]} are in only one of the file and the model")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            sides = (f"{list(one.shape)} of {one.dtype}" for one in (tensor, expected[name]))
            raise ValueError(f"{name} is {' instead of '.join(sides)}")


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, by the rest of the name."""
    return {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}


def _digest(tensors: dict[str, Tensor], facts: dict[str, str]) -> str:
    """Content hash (32 hex digits) of everything in a checkpoint."""
    parts: list[Any] = [json.dumps(facts, sort_keys=True)]
    for name, tensor in sorted(tensors.items()):
        parts.append(f"{name} {tensor.dtype} {list(tensor.shape)} ")
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest_of(parts)


def _flatten(state: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`state` as JSON-serialisable values; each tensor is moved to `tensors` and replaced by its path there."""
    if isinstance(state, Tensor):
        tensors[path] = state
        return {"tensor": path}
    if isinstance(state, dict):
        return {"keys": [[key, _flatten(value, f"{path}.{key}", tensors)] for key, value in state.items()]}
    if isinstance(state, list):
        return [_flatten(value, f"{path}.{number}", tensors) for number, value in enumerate(state)]
    return state


def _unflatten(state: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_flatten`."""
    if isinstance(state, list):
        return [_unflatten(value, tensors) for value in state]
    if not isinstance(state, dict):
        return state
    return tensors[state["tensor"]] if "tensor" in state else {key: _unflatten(value, tensors) for key, value in state["keys"]}
