# In a network and process namespace of its own: redis-server, tombolo-proxy before it unless
# PROXY is "-", then a command, in which @PORT@ stands for the port to use. Everything ends with it.
#   with_redis.sh DIRECTORY PROXY COMMAND...
set -eu
directory=$1 proxy=$2
shift 2
ip link set lo up
redis-server --port 6379 --bind 127.0.0.1 --save '' --dir "$directory" --logfile "$directory/redis.log" \
    --enable-protected-configs yes --enable-debug-command yes --enable-module-command yes &
port=6379
if [ "$proxy" != - ]; then
    port=6380
    printf '%s\n' suite: '  listen: 127.0.0.1:6380' '  redis: true' '  servers:' '   - 127.0.0.1:6379:1' \
        >"$directory/nutcracker.yml"
    "$proxy" --conf-file="$directory/nutcracker.yml" --stats-addr=127.0.0.1 --output="$directory/proxy.log" &
fi
for _ in $(seq 200); do
    if redis-cli -p "$port" ping 2>/dev/null | grep -q PONG && redis-cli -p "$port" dbsize >/dev/null; then
        exec "${@//@PORT@/$port}"
    fi
    sleep 0.05
done
echo "nothing answers on port $port" >&2
exit 2
