"""Validates JSON documents against the schemas in docs/json with the package jsonschema.

Arguments: the directory of the schemas. Standard input: one JSON object in each line, with `schema` (a
name), `command` and `document`. Prints each fault, and ends with status 1 if there is one.
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

schemas = {}
for path in pathlib.Path(sys.argv[1]).glob("*.json"):
    schemas[path.name] = json.loads(path.read_text())
    Draft202012Validator.check_schema(schemas[path.name])
registry = Registry().with_resources(
    (name, Resource.from_contents({"$id": name, **schema})) for name, schema in schemas.items()
)
validators = {
    name: Draft202012Validator({"$ref": name}, registry=registry) for name in schemas
}
faults = 0
documents = 0
for line in sys.stdin:
    case = json.loads(line)
    documents += 1
    for error in validators[case["schema"] + ".json"].iter_errors(case["document"]):
        faults += 1
        print(f"{case['command']}: {error.json_path}: {error.message[:300]}")
        for cause in error.context or []:
            print(f"    {cause.json_path}: {cause.message[:300]}")
print(f"{documents} documents, {faults} faults")
sys.exit(1 if faults or not documents else 0)
