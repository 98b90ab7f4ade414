"""The inputs of a run, the unsplit model's answers to them, and the run's own. Shell: it may read images."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from pipeline.domain.checks import require
from pipeline.domain.plan import COMPRESSIONS
from pipeline.domain.records import Records
from pipeline.execution.job import Job
from pipeline.network.models.answers import finite_answer, is_finite
from pipeline.network.models.spec import ModelSpec
from pipeline.trial.built_models import built
from pipeline.trial.trial import Trial

Tensors = Sequence[torch.Tensor]
_log = logging.getLogger(__name__)


def inputs_and_answers(trial: Trial, spec: ModelSpec, requests: int | None) -> tuple[Tensors, Tensors]:
    """The inputs of that many requests to a model and its answers; none where the backend does not compute.

    Logs a warning for a model that answers the same input differently. Raises ConfigError for an answer that
    is not finite.
    """
    if not trial.backend.computes:
        return (), ()
    module, _ = built(spec, trial.models)
    inputs = trial.images.inputs(spec, requests)
    answers = [finite_answer(module, x, spec.name) for x in inputs]
    if not torch.equal(finite_answer(module, inputs[0], spec.name), answers[0]):
        _log.warning(
            "%s is not deterministic: it answers the same image differently each time, so top1_agreement and "
            "output_max_abs_error do not show what splitting changes", spec.name,
        )  # fmt: skip
    return inputs, answers


def require_finite_answers(job: Job, records: Records) -> None:
    """Raise ConfigError if one of a run's answers is not finite."""
    bad = sum(not is_finite(output) for output in records.outputs)
    codecs = sorted({service.plan.compression for service in job.services} - {COMPRESSIONS[0]})
    remedy = f"; choose another compression than {', '.join(codecs)}" if codecs else ""
    require(
        bad == 0,
        f"{bad} of {len(records.outputs)} answers are not finite (NaN or infinity), although those of the "
        f"unsplit model are{remedy}",
    )
