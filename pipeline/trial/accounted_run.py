"""Run a job and account it, part by part unless the records of each request are kept. Shell."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pipeline.domain.records import Records
from pipeline.execution.job import Job
from pipeline.execution.scheduler import scheduler_for
from pipeline.results.accountant import Accountant
from pipeline.results.summary import Summary
from pipeline.trial.trial import Trial


def accounted_run(trial: Trial, job: Job) -> tuple[Records, pd.DataFrame, Summary]:
    """The records of a job, its ledger (columns: LEDGER_COLUMNS), and the summary of both.

    Without `per_request` the records have no rows, and the ledger one for each stage, device and component.
    """
    summary = Summary(job.services, trial.accounting, alone=job.workload.concurrency == 1)
    accountant = Accountant(trial.fleet, trial.accounting, job.intensity)

    def add(records: Records) -> pd.DataFrame:
        ledger = accountant.account(records).ledger
        summary.add(records, ledger)
        return ledger

    scheduler = scheduler_for(job, trial.scheduler)
    if trial.per_request:
        records = trial.backend.run(job, scheduler)
        return records, add(records), summary
    records = trial.backend.run(replace(job, sink=add), scheduler)
    add(records)
    return records, summary.ledger(), summary
