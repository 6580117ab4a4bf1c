#!/usr/bin/env bash
# Generates the Python code of every proto below visionjobs/ into the given directory.
set -euo pipefail
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
python -m grpc_tools.protoc -I . --python_out="$out" --mypy_out="quiet:$out" visionjobs/v1/*.proto
python -m grpc_tools.protoc -I . --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" \
  $(grep -l "^service " visionjobs/v1/*.proto)
