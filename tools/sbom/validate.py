"""Validates a CycloneDX file against the schema of its version; see `make check`."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
version = SchemaVersion.from_version(json.loads(text)["specVersion"])
problem = JsonStrictValidator(version).validate_str(text)
if problem:
    sys.exit(f"{sys.argv[1]} is not valid CycloneDX {version.to_version()}: {problem}")
