#!/bin/sh
# Makes crates/api/google/grpc.binpb anew: the descriptors of Google's gRPC services, from the .proto files in the npm
# packages that setup.sh installs, by the protoc in the PyPI package grpcio-tools.
#
# Usage: e2e/clients/descriptors.sh FOLDER, the folder that was given to setup.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$1/node/node_modules
python=$(mktemp -d)
trap 'rm -rf "$python"' EXIT
python3 -m venv "$python"
"$python/bin/pip" install -q grpcio-tools==1.85.1
"$python/bin/python" -m grpc_tools.protoc \
    -I "$modules/@google-cloud/redis/build/protos" \
    -I "$modules/@google-cloud/resource-manager/build/protos" \
    -I "$modules/@google-cloud/service-usage/build/protos" \
    -I "$modules/google-gax/build/protos" \
    --include_imports --descriptor_set_out="$here/../../crates/api/google/grpc.binpb" \
    google/cloud/redis/v1/cloud_redis.proto \
    google/cloud/resourcemanager/v3/projects.proto \
    google/api/serviceusage/v1/serviceusage.proto \
    google/cloud/location/locations.proto \
    google/longrunning/operations.proto \
    google/rpc/error_details.proto google/rpc/status.proto
