#!/usr/bin/env bash
# Every linter. The first that fails stops the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "ruff";         ruff check --quiet . && ruff format --quiet --check .
echo "mypy";         mypy libs/*/src services/*/src migrations bench tests/conftest.py
for tests in tests/[!_]*/; do mypy "$tests"; done
echo "import-linter"; imports=$(lint-imports) || { echo "$imports"; exit 1; }
echo "buf";          buf lint protos && buf format --diff --exit-code protos

echo "generated code"
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
bash protos/generate.sh "$generated"
diff -r --exclude=__pycache__ --exclude=__init__.py "$generated/visionjobs/v1" libs/visionjobs/src/visionjobs/v1 \
  || { echo "The generated code is not what the protos give: run make proto."; exit 1; }

echo "compose"
docker-compose -f compose.yaml config --quiet
docker-compose -f compose.yaml -f compose.emulator.yaml config --quiet
check-jsonschema --builtin-schema vendor.compose-spec compose.yaml compose.emulator.yaml

echo "dockerfiles";  hadolint deploy/*.Dockerfile
echo "all checks passed"
