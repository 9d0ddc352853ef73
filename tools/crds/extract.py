"""Writes the schemas of tests/data/crds/istio.json from the wheel `cloudcoil-models-istio`, which is made from Istio's own CRDs.

  make .tools/crds/.installed && .tools/crds/venv/bin/python tools/crds/extract.py >tests/data/crds/istio.json

Needs only pydantic of the wheel's dependencies: the models are loaded with stubs for their base classes.
"""

import importlib
import json
import sys
import sysconfig
import types
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

KINDS = {
    "extensions.v1alpha1": ["WasmPlugin"],
    "networking.v1alpha3": ["EnvoyFilter"],
    "networking.v1": ["DestinationRule", "Gateway", "Sidecar", "VirtualService"],
    "security.v1": ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"],
}


class Strict(BaseModel):
    """Strict validation, as in the API server: a field that the schema does not have is an error."""

    model_config = ConfigDict(extra="forbid")


class Anything:
    """Builders and similar helpers, which are not needed here."""

    def __class_getitem__(cls, _):
        return cls


class Metadata(Strict):
    """The fields of Kubernetes' ObjectMeta that people write."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    Builder: ClassVar[type] = Anything
    BuilderContext: ClassVar[type] = Anything


def stand_in(name, path=(), **members):
    module = types.ModuleType(name)
    module.__path__ = path
    module.__getattr__ = lambda _: Anything
    vars(module).update(members)
    sys.modules[name] = module


def slim(node):
    """The schema without descriptions and titles: only what validates."""
    if isinstance(node, dict):
        properties = node.get("properties")
        return {
            key: {name: slim(one) for name, one in value.items()} if value is properties else slim(value)
            for key, value in node.items()
            if key not in ("title", "description", "default")
        }
    return [slim(one) for one in node] if isinstance(node, list) else node


def main():
    packages = sysconfig.get_paths()["purelib"]
    stand_in("cloudcoil")
    stand_in("cloudcoil.models")
    stand_in("cloudcoil.models.istio", [f"{packages}/cloudcoil/models/istio"])
    stand_in("cloudcoil.apimachinery", ObjectMeta=Metadata)
    stand_in("cloudcoil.pydantic", BaseModel=Strict, UNSET=None)
    stand_in("cloudcoil.resources", Resource=Strict)
    schemas = {}
    for module, kinds in KINDS.items():
        models = importlib.import_module(f"cloudcoil.models.istio.{module}")
        for kind in kinds:
            model = getattr(models, kind)
            model.model_rebuild(_types_namespace={**vars(models), "ObjectMeta": Metadata})
            schema = slim(model.model_json_schema(by_alias=True))
            schemas[f"{schema['properties']['apiVersion']['const']}/{kind}"] = schema
    # One line for each kind.
    lines = (f"{json.dumps(kind)}: {json.dumps(schema, separators=(',', ':'))}" for kind, schema in sorted(schemas.items()))
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
