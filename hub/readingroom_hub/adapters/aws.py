"""What the adapters to AWS and compatible services share: credentials from one file, and time limits."""

import configparser
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from readingroom_hub.errors import BadInput

_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 3, 10, 3
"""A service that does not answer is an error within a minute, never a hang: whoever reads an image waits for it."""


def credentials(path: Path) -> dict[str, str]:
    """Access key and secret from an AWS credentials file, section `default`. Raises BadInput naming what is missing."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
        section = parser["default"]
        return {name: section[name] for name in ("aws_access_key_id", "aws_secret_access_key")}
    except OSError as error:
        raise BadInput(f"the credentials file {path} cannot be read: {error.strerror}") from error
    except (KeyError, configparser.Error) as error:
        raise BadInput(
            f"the credentials file {path} needs a section [default] with aws_access_key_id and aws_secret_access_key"
        ) from error


def client(service: str, endpoint: str, region: str, keys: dict[str, str], ca_file: Path | None, **more: Any) -> Any:
    """A client of boto3 that asks nothing before its first use; `endpoint` may be empty for the region's own.

    Credentials come from `keys` alone, never from the environment or the machine."""
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=32,
        **more,
    )
    session = boto3.session.Session(region_name=region, **keys)
    return session.client(
        service, endpoint_url=endpoint or None, verify=str(ca_file) if ca_file else None, config=config
    )
