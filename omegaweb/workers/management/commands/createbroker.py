"""Make what tasks need on the broker: `manage.py createbroker --web-file PATH --worker-file PATH`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from omegaml.config import write_private
from omegaml.errors import OmegaError
from omegaml.runtime.messages import SCHEDULER, WEB, WORKER
from omegaweb import provision
from omegaweb.provision import rabbitmq
from omegaweb.workers.secretfile import read_secret

SERVICES = {"web": WEB, "worker": WORKER, "scheduler": SCHEDULER}


class Command(BaseCommand):
    help = "Make the exchanges of tasks and replies and the service users that are named, and remove guest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        for option, name in SERVICES.items():
            parser.add_argument(
                f"--{option}-file",
                type=Path,
                metavar="PATH",
                help=f"Holds the URL of the user {name}, closed to others; written where there is none.",
            )
        parser.add_argument(
            "--server",
            metavar="URL",
            help="The broker as services reach it, as amqp://host:5672; else broker_server of web.yml.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        known = settings.CONFIGURATION
        if not known.broker_admin_url:
            raise CommandError("web.yml has no broker_admin_url: there is no broker to make users at")
        server = options["server"] or known.broker_server or known.broker_url
        if not server:
            raise CommandError("web.yml names no broker_server: say which by --server amqp://host:5672")
        try:
            rabbitmq.ensure_topology(known.broker_admin_url)
            for option, name in SERVICES.items():
                file = options[f"{option}_file"]
                if file is not None:
                    text = read_secret(file)
                    url = provision.service_url(name, server, text)
                    if url != text:
                        write_private(file, url + "\n")
                    self.stdout.write(f"{name}: ok, its URL is in {file}")
        except OmegaError as error:
            raise CommandError(f"{error.message}{f' ({error.hint})' if error.hint else ''}") from None
