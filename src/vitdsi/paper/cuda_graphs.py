"""The training loop on a GPU: the batches and steps of `vitdsi.training.loop`, replayed as a CUDA graph.

The paper's models are so small that a GPU would mostly wait for the CPU to start its kernels. Here a step is captured
once. The batches of up to ten steps are drawn on the CPU, copied together, and replayed without further work of the
CPU, so that one GPU can train many models at the same time, each in a thread with a stream of its own.

Weights differ from those of the loop only by the rounding and by the masks of dropout, which the GPU draws.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.augment import DRAWS, augment_with
from vitdsi.progress import OnProgress
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import (
    draw_examples,
    evaluate,
    progress_at,
)
from vitdsi.training.optimizers import MAX_GRADIENT_NORM, parameter_groups
from vitdsi.training.schedule import Schedule, schedule_for
from vitdsi.training.targets import next_token_loss, one_hot_targets, retrieval_target
from vitdsi.training.views import PixelViews

_CHUNK = 10  # steps that are drawn and copied together; progress is reported as often
_WARM_UP = 3  # steps before a capture, so that libraries allocate their workspaces outside of it
_CAPTURE = threading.Lock()  # all graphs share the generator of the GPU, so none is replayed during a capture


def train_with_graphs(
    model: Seq2Seq,
    data: TrainingData,
    config: TrainingConfig,
    *,
    seed: int,
    schedule: Schedule | None = None,
    on_progress: OnProgress = None,
) -> Schedule:
    """Train a model in place, as `vitdsi.training.loop.train` does, and return the schedule with its history.

    Args:
        model: a model on a GPU. On the CPU the same steps are run one by one, for tests.
        data: views of pixels, which are on the device of the model.
        config: the settings of the loop.
        seed: the seed of batches and views.
        schedule: a schedule to continue; None begins the one that the settings name.
        on_progress: called every ten steps.

    Raises:
        UsageError: the views are not those of pixels.
    """
    if not isinstance(data.views, PixelViews):
        raise UsageError("training with CUDA graphs reads pixels; set model.stem=pixels")
    schedule = schedule or schedule_for(config, len(data.indexing_rows))
    steps = _Steps(model, data, config)
    generator = torch.Generator()
    started = since = time.monotonic()
    started -= schedule.seconds
    since_step, last_evaluation = schedule.step, schedule.step
    last = schedule.history[-1] if schedule.history else {}
    over = False
    model.train()
    while not over:
        batches, rates, share = [], [], schedule.retrieval_share
        while not over and schedule.retrieval_share == share:
            generator.manual_seed((seed << 32) + schedule.step)
            batches.append(_draw(data, config, share, generator))
            rates.append(schedule.learning_rate)
            schedule.seconds = time.monotonic() - started
            over = schedule.advance()
            if schedule.step % _CHUNK == 0 or schedule.step % config.evaluate_every == 0:
                break
        steps.run(_gather(data, config, share, batches), rates)
        if schedule.step % config.evaluate_every == 0 or over:
            last = evaluate(model, data, config)
            last["loss"] = float(steps.loss) / (schedule.step - last_evaluation)
            last["step"] = last_evaluation = schedule.step
            schedule.history.append(last)
            steps.loss.zero_()
            schedule.seconds = time.monotonic() - started
            over = over or schedule.evaluated(last["indexing_accuracy"], last["retrieval_loss"])
        if on_progress is not None and (schedule.step % 10 == 0 or over):
            rate = (schedule.step - since_step) / max(time.monotonic() - since, 1e-9)
            on_progress(progress_at(schedule, last, rate))
    steps.close()
    model.eval()
    return schedule


def seconds_per_step(
    model: Seq2Seq, data: TrainingData, config: TrainingConfig, *, repeats: int = 30
) -> float:
    """Measure the time of a training step in seconds, without evaluations: the median of `repeats` times ten steps.

    The model is trained by these steps.
    """
    model.train()
    steps = _Steps(model, data, config)
    times = []
    for number in range(repeats):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(number)
        batches = [_draw(data, config, config.retrieval_ratio, generator) for _ in range(_CHUNK)]
        steps.run(_gather(data, config, config.retrieval_ratio, batches), [config.learning_rate] * _CHUNK)
        float(steps.loss)  # waits for the GPU
        times.append((time.perf_counter() - started) / _CHUNK)
    steps.close()
    return statistics.median(times)


def _draw(
    data: TrainingData, config: TrainingConfig, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw as the loop does: rows, ids and which rows are altered, each (B,), and numbers (DRAWS, B) to alter them."""
    own, queries, ids, altered = draw_examples(data, config, share, generator)
    numbers = torch.zeros(DRAWS, len(ids))
    numbers[:, altered] = torch.rand((DRAWS, int(altered.sum())), generator=generator)
    return torch.cat([own, queries]), ids, altered, numbers


def _gather(
    data: TrainingData, config: TrainingConfig, share: float, batches: Sequence[tuple[Tensor, ...]]
) -> tuple[Tensor, Tensor]:
    """Gather what S steps read: integers (S, B, 2 + 2 L) and floats (S, B, DRAWS + L V)."""
    rows, ids, altered, numbers = (torch.stack(parts) for parts in zip(*batches, strict=True))
    trie, first = data.trie, config.batch_size - round(config.batch_size * share)
    integers = torch.cat([rows[..., None], altered[..., None], trie.codes[ids], trie.nodes[ids]], dim=-1)
    own, queries, found = ids[:, :first].flatten(), rows[:, first:].flatten(), ids[:, first:].flatten()
    target_of = retrieval_target(config.paper.target)
    parts = [one_hot_targets(trie, own), target_of(data.relevance, trie, queries, found)]
    targets = torch.cat([part.reshape(len(rows), -1, part[0].numel()) for part in parts if len(part)], dim=1)
    return integers, torch.cat([numbers.transpose(1, 2), targets], dim=-1)


class _Steps:
    """Runs steps on batches that it copies to the device of the model.

    Attributes:
        loss: the sum of the losses of all steps since it was set to zero.
    """

    def __init__(self, model: Seq2Seq, data: TrainingData, config: TrainingConfig) -> None:
        self.model, self.data, self.config = model, data, config
        self.device = next(model.parameters()).device
        length, width = data.trie.max_length, data.trie.child.shape[1]
        self._shape = (config.batch_size, length, width)
        size = (_CHUNK, config.batch_size)
        self._integers = torch.zeros(*size, 2 + 2 * length, dtype=torch.long, device=self.device)
        self._floats = torch.zeros(*size, DRAWS + length * width, device=self.device)
        self._rates = torch.zeros(_CHUNK, device=self.device)
        self._place = torch.zeros(1, dtype=torch.long, device=self.device)
        self.loss = torch.zeros((), device=self.device)
        self._allowed_at = (data.trie.child != NONE).to(self.device) if config.paper.constrained else None
        groups: Any = [
            {**group, "lr": torch.zeros((), device=self.device)} for group in parameter_groups(model, config)
        ]
        self._optimizer = torch.optim.AdamW(
            groups, betas=(0.9, 0.98), fused=True, capturable=self.device.type == "cuda"
        )
        self._graph = self._capture() if self.device.type == "cuda" else None

    def run(self, batches: tuple[Tensor, Tensor], rates: list[float]) -> None:
        """Take a step on each of S <= 10 batches, which `_gather` has made, with the learning rates (S,)."""
        for buffer, values in zip(
            (self._integers, self._floats, self._rates), (*batches, torch.tensor(rates)), strict=True
        ):
            pinned = values.pin_memory() if self._graph is not None else values
            buffer[: len(rates)].copy_(pinned, non_blocking=True)
        self._place.zero_()
        if self._graph is None:
            for _ in rates:
                self._step()
            return
        with _CAPTURE:
            for _ in rates:
                self._graph.replay()

    def close(self) -> None:
        """Free the memory of the graph. No step can be taken afterwards."""
        if self._graph is not None:
            with _CAPTURE:
                self._graph = None
                torch.cuda.empty_cache()

    def _step(self) -> None:
        integers, floats, rate = (
            buffer.index_select(0, self._place).squeeze(0)
            for buffer in (self._integers, self._floats, self._rates)
        )
        _, length, _ = self._shape
        rows, altered, codes, nodes = torch.split(integers, [1, 1, length, length], dim=-1)
        numbers, target = floats[:, :DRAWS], floats[:, DRAWS:].view(self._shape)
        inputs = self.data.views.clean(rows.squeeze(1))
        if self.config.augment_prob > 0:
            inputs = torch.where(altered[..., None, None] > 0, augment_with(inputs, numbers.T), inputs)
        for group in self._optimizer.param_groups:
            group["lr"].copy_(rate * group["rate"])
        self._optimizer.zero_grad(set_to_none=True)
        scores = self.model(inputs, codes, nodes)
        allowed = None if self._allowed_at is None else self._allowed_at[nodes.clamp(min=0)]
        loss = next_token_loss(scores, target, allowed).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.loss.add_(loss.detach())
        self._place.add_(1)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Capture a step. The weights, the optimizer and the sums are then as if no step had been taken."""
        stream = torch.cuda.current_stream()
        if stream == torch.cuda.default_stream():
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.model.train()
        graph = torch.cuda.CUDAGraph()
        with _CAPTURE, torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step()
            stream.synchronize()
            self._optimizer.zero_grad(set_to_none=True)
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._step()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), before, strict=True):
                parameter.copy_(value)
            for state in self._optimizer.state.values():
                for value in state.values():
                    value.zero_()
            self.loss.zero_()
        return graph
