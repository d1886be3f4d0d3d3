"""A worker of Celery alone, as one would set it up by hand: quorum queue, late acks, JSON, results by `rpc://`.

BARE_BROKER is the broker's URL: `celery -A benchmarks.bare worker`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

app = Celery("bare", broker=os.environ.get("BARE_BROKER"), backend="rpc://")
app.conf.update(
    task_default_queue="bare",
    task_queues=[Queue("bare", Exchange("bare"), "bare", queue_arguments={"x-queue-type": "quorum"})],
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
)


@app.task(name="bare.ping")
def ping() -> dict[str, Any]:
    return {"message": "pong", "time": datetime.now(UTC).isoformat(), "pid": os.getpid()}


@contextmanager
def worker(broker: str, folder: Path, concurrency: int) -> Iterator[subprocess.Popen[bytes]]:
    """A running worker, and this process as its client."""
    app.conf.broker_url = broker
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.bare", "worker", "-c", str(concurrency)]
    command += ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    with (folder / "bare.log").open("wb") as log:
        environment = {**os.environ, "BARE_BROKER": broker}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        assert ping.delay().get(timeout=60)["message"] == "pong"
        time.sleep(1)
        yield process
    finally:
        process.terminate()
        process.wait(60)
