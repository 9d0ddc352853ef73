"""Writes tests/data/crds/istio.rules.json: the rules in CEL of Istio's CRDs (`x-kubernetes-validations`), which an API
server enforces and the schemas of istio.json lack, restated as JSON schemas. It stops at a rule that it does not know.

  go mod download -json istio.io/api@v1.31.4     # prints the folder
  .tools/crds/venv/bin/python tools/crds/rules.py DIR/kubernetes/customresourcedefinitions.gen.yaml >tests/data/crds/istio.rules.json

Needs PyYAML, and what extract.py needs.
"""

import json
import re
import sys

import yaml

from extract import KINDS

# Go's durations, of at least one millisecond in the units that people write.
DURATION = {
    "allOf": [
        {"pattern": r"^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$"},
        {"pattern": r"[1-9][0-9]*(\.[0-9]*)?(ms|s|m|h)|[0-9]*\.[0-9]*[1-9][0-9]*(s|m|h)"},
    ]
}
NO_STAR = {"not": {"pattern": r"\*"}}
WITHOUT = {
    "duration(self) >= duration('1ms')": DURATION,
    '!self.contains("*")': NO_STAR,
    'self.all(key, !key.contains("*"))': {"propertyNames": NO_STAR},
    "self.all(key, key.size() != 0)": {"propertyNames": {"minLength": 1}},
    "self.size() == 0": {"maxLength": 0},
    'url(self).getScheme() in ["http", "https"]': {"pattern": "^https?://"},
    # A Wasm module's URL. Without a scheme it is an image.
    'isURL(self) ? (url(self).getScheme() in ["", "http", "https", "oci", "file"]) : (isURL("http://" + self) && '
    'url("http://" + self).getScheme() in ["", "http", "https", "oci", "file"])': {
        "pattern": "^((https?|oci|file)://)?[^ :/]+(:[0-9]+)?/"
    },
    '(has(self.valueFrom) ? self.valueFrom : "") != "HOST" || !has(self.value)': {
        "not": {"properties": {"valueFrom": {"const": "HOST"}}, "required": ["valueFrom", "value"]}
    },
    "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) && "
    "!has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true": {
        "if": {"anyOf": [{"required": [one]} for one in ("serviceAccounts", "notServiceAccounts")]},
        "then": {"properties": {one: False for one in ("principals", "notPrincipals", "namespaces", "notNamespaces")}},
    },
    "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) ? "
    "self.selector.matchLabels : {}).size() > 0) : true": {
        "if": {"required": ["portLevelMtls"]},
        "then": {
            "required": ["selector"],
            "properties": {
                "selector": {"required": ["matchLabels"], "properties": {"matchLabels": {"minProperties": 1}}}
            },
        },
    },
    'has(self.context) ? ((self.context == "WAYPOINT") ? has(self.waypoint) : !has(self.waypoint)) : '
    "!has(self.waypoint)": {
        "if": {"properties": {"context": {"const": "WAYPOINT"}}, "required": ["context"]},
        "then": {"required": ["waypoint"]},
        "else": {"properties": {"waypoint": False}},
    },
    "0 < self && self <= 65535": {"minimum": 1, "maximum": 65535},
    "self.all(key, 0 < int(key) && int(key) <= 65535)": {"propertyNames": {"pattern": "^[1-9][0-9]{0,4}$"}},
}
# (has(self.a) ? 1 : 0) + (has(self.b) ? 1 : 0) + ... <= 1
ONE_OF = re.compile(r"(\(has\(self\.\w+\) \? 1 : 0\)( \+ )?)+ <= 1")


def restated(rule):
    rule = " ".join(rule.split())
    if ONE_OF.fullmatch(rule):
        names = re.findall(r"has\(self\.(\w+)\)", rule)
        pairs = [[a, b] for at, a in enumerate(names) for b in names[at + 1 :]]
        return {"not": {"anyOf": [{"required": pair} for pair in pairs]}}
    if rule not in WITHOUT:
        sys.exit(f"unknown rule: {rule}")
    return WITHOUT[rule]


def rules(schema):
    """The rules of a CRD's schema and of what is in it, as one JSON schema. None if there are none."""
    all_of = [restated(one["rule"]) for one in schema.get("x-kubernetes-validations", [])]
    inner = {}
    properties = {name: rules(one) for name, one in schema.get("properties", {}).items()}
    properties = {name: one for name, one in properties.items() if one}
    if properties:
        inner["properties"] = properties
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict) and (one := rules(schema[key])):
            inner[key] = one
    if inner:
        all_of.append(inner)
    return {"allOf": all_of} if len(all_of) > 1 else all_of[0] if all_of else None


def main():
    groups = {"extensions": "extensions.istio.io", "networking": "networking.istio.io", "security": "security.istio.io"}
    with open(sys.argv[1], encoding="utf-8") as file:
        crds = {crd["spec"]["names"]["kind"]: crd["spec"] for crd in yaml.safe_load_all(file) if crd}
    found = {}
    for module, kinds in KINDS.items():
        group, version = module.split(".")
        for kind in kinds:
            if crds[kind]["group"] != groups[group]:
                sys.exit(f"{kind} is of the group {crds[kind]['group']}")
            (spec,) = [one for one in crds[kind]["versions"] if one["name"] == version]
            found[f"{groups[group]}/{version}/{kind}"] = rules(spec["schema"]["openAPIV3Schema"])
    lines = (f"{json.dumps(kind)}: {json.dumps(one, ensure_ascii=False)}" for kind, one in sorted(found.items()) if one)
    print("{\n" + ",\n".join(lines) + "\n}")


main()
