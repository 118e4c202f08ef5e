# twemproxy's own tests, with PROXY in nutcracker's place. They use fixed ports and end processes by
# their command lines, so they get a network and process namespace of their own.
#   twemproxy.sh DIRECTORY PROXY TESTS PYTHON
set -eu
directory=$1 proxy=$2 tests=$3 python=$4
ip link set lo up
cp -r "$tests" "$directory/tests"
cd "$directory/tests"
# Their working directories are below /tmp/r, which may be somebody else's.
grep -rl /tmp/r/ --include='*.py' . | xargs sed -i "s#/tmp/r/#$directory/r/#g"
mkdir -p _binaries log
cp "$(command -v redis-server)" "$(command -v redis-cli)" _binaries/
cp "$proxy" _binaries/nutcracker
# memcached does not run as root unless it is told to, and the namespace has no other user.
printf '#!/bin/bash\nexec -a bin/memcached %s "$@" -u root\n' "$(command -v memcached)" >_binaries/memcached
chmod +x _binaries/memcached
# What tests print would be between the names and the verdicts, which are on stderr.
for part in test_redis test_memcache test_system; do
    timeout 180 "$python" -m nose -v "$part" 2>&1 >/dev/null || true
done
