#!/bin/sh
# The story, told with gcloud: a Redis behind two peerings, why it cannot be reached, and the proxy that gets there.
#
#   vpc-1 10.1.0.0/16 ==peering== vpc-2 10.2.0.0/16 ==automatic peering== redis-1
#     vm-1                          vm-2, redis-proxy
#
# Usage: e2e/story.sh [--with tombolo], while `tombolo serve` runs. TOMBOLO is the binary; `--with tombolo` has it do
# what is typed as gcloud, for its verbs have gcloud's grammar. Exit status 0: all was as expected.
set -eu

tombolo=${TOMBOLO:-tombolo}
case "$*" in
    "") ;;
    "--with tombolo") gcloud() { "$tombolo" "$@"; } ;;
    *) echo "usage: $0 [--with tombolo]" >&2; exit 2 ;;
esac
export CLOUDSDK_CORE_DISABLE_PROMPTS=1
eval "$("$tombolo" env)"

p1=project-i-1 p2=project-i-2 region=us-central1 zone=us-central1-a

step() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
# Lines as expected: equal LABEL EXPECTED SEEN
equal() { [ "$2" = "$3" ] || fail "$1: expected '$2', saw '$3'"; }
# A command that must fail, and whose error must have a text: refused TEXT COMMAND…
refused() {
    text=$1
    shift
    if said=$("$@" 2>&1); then fail "not refused: $*"; fi
    case $said in *"$text"*) ;; *) fail "refused otherwise: $*: $said" ;; esac
}
# A program in a VM, until it succeeds: a startup script takes a moment.
until_in() {
    vm=$1
    shift
    tries=0
    until "$tombolo" exec "$vm" -- "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || fail "in $vm: $*"
        sleep 0.2
    done
}

step "projects and their services"
for p in $p1 $p2; do
    gcloud projects create $p --name "$p"
    gcloud services enable compute.googleapis.com --project $p
done
gcloud services enable redis.googleapis.com --project $p2
gcloud services list --enabled --project $p2 --format='value(config.name)' | grep -qx redis.googleapis.com

step "the networks 'default' go"
for p in $p1 $p2; do
    refused "is already being used by" gcloud compute networks delete default --project $p
    for rule in $(gcloud compute firewall-rules list --project $p --format='value(name)'); do
        gcloud compute firewall-rules delete "$rule" --project $p
    done
    gcloud compute networks delete default --project $p
    equal "networks of $p" "" "$(gcloud compute networks list --project $p --format='value(name)')"
done

step "two networks, each with a VM"
for i in 1 2; do
    eval p=\$p$i
    gcloud compute networks create vpc-$i --project $p --subnet-mode custom
    gcloud compute networks subnets create subnet-$i --project $p --network vpc-$i --region $region --range 10.$i.0.0/16
    gcloud compute instances create vm-$i --project $p --zone $zone --subnet subnet-$i --private-network-ip 10.$i.0.2 \
        --no-address --image-family debian-12 --image-project debian-cloud
    refused "cannot connect to port 22 of vm-$i" "$tombolo" compute ssh vm-$i --command hostname
    gcloud compute firewall-rules create vpc-$i-allow-ssh --project $p --network vpc-$i --allow tcp:22
    equal "ssh to vm-$i" vm-$i "$("$tombolo" compute ssh vm-$i --command hostname)"
done
equal "subnet" 10.1.0.0/16 "$(gcloud compute networks subnets describe subnet-1 --project $p1 --region $region --format='value(ipCidrRange)')"
equal "vm-1" 10.1.0.2 "$(gcloud compute instances describe vm-1 --project $p1 --zone $zone --format='value(networkInterfaces[0].networkIP)')"
equal "state" RUNNING "$(gcloud compute instances list --project $p1 --format='value(status)')"

step "they do not reach each other"
if "$tombolo" exec vm-1 -- ping -c1 -W1 10.2.0.2; then fail "vm-1 reaches vm-2 without a peering"; fi

step "peerings, and a rule"
gcloud compute networks peerings create vpc-1-to-vpc-2 --project $p1 --network vpc-1 --peer-project $p2 --peer-network vpc-2
equal "half a peering" INACTIVE "$(gcloud compute networks describe vpc-1 --project $p1 --format='value(peerings[0].state)')"
gcloud compute networks peerings create vpc-2-to-vpc-1 --project $p2 --network vpc-2 --peer-project $p1 --peer-network vpc-1
equal "the peering" ACTIVE "$(gcloud compute networks describe vpc-1 --project $p1 --format='value(peerings[0].state)')"
gcloud compute networks peerings list --project $p2
gcloud compute firewall-rules create vpc-2-allow-internal --project $p2 --network vpc-2 --allow all --source-ranges 10.0.0.0/8
"$tombolo" exec vm-1 -- ping -c1 -W2 10.2.0.2

step "a Redis instance, which vm-2 reaches and vm-1 does not"
gcloud redis instances create redis-1 --project $p2 --region $region --size 1 --network projects/$p2/global/networks/vpc-2 \
    --reserved-ip-range 10.34.175.88/29
equal "redis-1" READY "$(gcloud redis instances describe redis-1 --project $p2 --region $region --format='value(state)')"
host=$(gcloud redis instances describe redis-1 --project $p2 --region $region --format='value(host)')
equal "its host" 10.34.175.91 "$host"
equal "PING" PONG "$("$tombolo" exec vm-2 -- redis-cli -h "$host" PING)"
if "$tombolo" trace vm-1 redis-1:6379; then fail "trace says that vm-1 reaches redis-1"; fi
if "$tombolo" exec vm-1 -- timeout 2 redis-cli -h "$host" PING; then fail "vm-1 reaches redis-1"; fi

step "the proxy in between"
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<END
#!/bin/sh
cat >/etc/nutcracker.yaml <<YAML
redis-1:
  listen: 0.0.0.0:6379
  redis: true
  servers:
    - $host:6379:1
YAML
echo "the proxy starts"
exec tombolo-proxy --conf-file /etc/nutcracker.yaml
END
gcloud compute instances create redis-proxy --project $p2 --zone $zone --subnet subnet-2 --private-network-ip 10.2.0.3 \
    --no-address --image-family debian-12 --image-project debian-cloud --metadata-from-file startup-script="$script"
until_in vm-1 sh -c 'test "$(redis-cli -h 10.2.0.3 SET k v)" = OK'
equal "GET" v "$("$tombolo" exec vm-1 -- redis-cli -h 10.2.0.3 GET k)"
gcloud compute instances get-serial-port-output redis-proxy --project $p2 --zone $zone | grep -q "the proxy starts"

echo "the story is told"
