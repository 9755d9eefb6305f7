"""Imported by every Python process of the test's tasks: writes down each call that boto3 makes."""

import json
import os
from pathlib import Path
from typing import Any

import botocore.client

_client: Any = botocore.client.BaseClient
_make = _client._make_api_call
_FILE = Path(os.environ["RECORDED_CALLS"])
_ROLE = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"].rpartition("/")[2]


def _record(self, operation_name, api_params):
    parameters = {name: value for name, value in api_params.items() if name != "Body"}
    call = {
        "role": _ROLE,
        "service": self.meta.service_model.endpoint_prefix,
        "operation": operation_name,
        "parameters": parameters,
    }
    # One write of one line: processes share the file.
    with _FILE.open("a") as file:
        file.write(json.dumps(call, default=str) + "\n")
    return _make(self, operation_name, api_params)


_client._make_api_call = _record
