#!/usr/bin/env bash
# Two Postroom nodes on one Redis behind a load balancer, all of them on this machine. Ctrl-C ends them.
#
#   npm ci && npm run build && examples/cluster/run.sh
#
# From the environment: PORT (8080); NODE_1_PORT, NODE_2_PORT and REDIS_PORT (else free ones); BALANCER (nginx or
# haproxy); NOTIFY_KEYS and JWT_SECRET (else made for this run).
set -euo pipefail
# Each child is a group of its own: Ctrl-C comes to this script alone, which ends them in order.
set -m
PATH=$PATH:/usr/sbin

here=$(cd "$(dirname "$0")" && pwd)
server=$(cd "$here/../.." && pwd)/dist/main.js
balancer=${BALANCER:-nginx}
run=$(mktemp -d)
nodes=()
redis=
front=

start() {
  for program in node curl redis-server "$balancer"; do
    command -v "$program" >/dev/null || fail "$program is not installed"
  done
  [ -f "$server" ] || fail 'Postroom is not built: npm ci && npm run build'
  (exec 3<>"/dev/tcp/127.0.0.1/${PORT:-8080}") 2>/dev/null && fail "port ${PORT:-8080} is taken; set PORT"
  trap end EXIT
  trap 'exit 0' INT TERM

  export PORT=${PORT:-8080} REDIS_PORT=${REDIS_PORT:-$(free_port)}
  export NOTIFY_KEYS=${NOTIFY_KEYS:-$(secret)} JWT_SECRET=${JWT_SECRET:-$(secret)}
  export NODE_1=127.0.0.1:${NODE_1_PORT:-$(free_port)} NODE_2=127.0.0.1:${NODE_2_PORT:-$(free_port)}
  export LISTEN=127.0.0.1:$PORT LOCAL=127.0.0.0/8

  start_redis
  start_node "$NODE_1"
  start_node "$NODE_2"
  start_balancer
  tell
  # Whatever becomes of the nodes meanwhile: that is what can be tried here.
  wait "$front"
}

start_redis() {
  redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --dir "$run" --save '' \
    --appendonly yes --appendfsync everysec --maxmemory-policy noeviction >"$run/redis.log" &
  redis=$!
  until grep -q 'Ready to accept connections' "$run/redis.log"; do still_there "$redis" "$run/redis.log"; done
}

# In a folder without an .env: its settings are those given here.
start_node() {
  (
    cd "$run"
    exec env JOURNAL=redis REDIS_URL="redis://127.0.0.1:$REDIS_PORT" HOST=127.0.0.1 PORT="${1#*:}" \
      TRUST_PROXY=1 DRAIN_SECONDS=1 node "$server"
  ) >"$run/${1#*:}.log" 2>&1 &
  nodes+=($!)
  until answers "http://$1/health/ready"; do still_there $! "$run/${1#*:}.log"; done
}

start_balancer() {
  if [ "$balancer" = haproxy ]; then
    haproxy -db -f "$here/haproxy.cfg" &
  else
    # If root starts it, its workers are another user, who has to get to its folder.
    mkdir "$run/nginx" && chmod 711 "$run"
    # What the nginx image does with a template: only these are filled in, nginx's own variables stay.
    sed -e "s|\${LISTEN}|$LISTEN|; s|\${NODE_1}|$NODE_1|; s|\${NODE_2}|$NODE_2|; s|\${LOCAL}|$LOCAL|" \
      "$here/nginx.conf" >"$run/nginx/nginx.conf"
    nginx -p "$run/nginx" -c nginx.conf -g 'daemon off;' &
  fi
  front=$!
  until answers "http://$LISTEN/client.js"; do still_there "$front" /dev/null; done
}

tell() {
  local key=${NOTIFY_KEYS%%,*}
  cat <<END

  Open       http://$LISTEN/#key=$key
  and post   curl http://$LISTEN/notify -H 'Authorization: Bearer $key' -H 'Content-Type: application/json' -d '{"room":"public.orders","event":"order.paid","data":{"order":42}}'

  node 1     http://$NODE_1   process ${nodes[0]}
  node 2     http://$NODE_2   process ${nodes[1]}
  Redis      redis://127.0.0.1:$REDIS_PORT

  Kill a node and go on posting: the page misses nothing. Ctrl-C ends all of them.

END
}

# The nodes before Redis, which they need to end in order.
end() {
  trap '' INT TERM
  for child in "$front" "${nodes[*]}" "$redis"; do
    # shellcheck disable=SC2086
    [ -z "$child" ] || { kill $child 2>/dev/null || true; wait $child 2>/dev/null || true; }
  done
  rm -rf "$run"
}

fail() {
  echo "$1" >&2
  exit 1
}

still_there() {
  kill -0 "$1" 2>/dev/null || { cat "$2" >&2; fail 'It ended before it was ready.'; }
  sleep 0.1
}

answers() { curl -sf -o /dev/null --max-time 2 "$1"; }

secret() { node -p 'crypto.randomBytes(32).toString("hex")'; }

free_port() {
  node -e 'const s = net.createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

start
