#!/usr/bin/env bash
# A site in PHP with a login, a chat and a shop: nginx, PHP-FPM and Postroom, all of them on this machine. Ctrl-C ends them.
#
#   npm ci && npm run build && examples/php/run.sh
#
# From the environment: PORT (8000), where the site is; POSTROOM_PORT (else a free one); NOTIFY_KEYS, JWT_SECRET and
# WEBHOOK_SECRET (else made for this run).
set -euo pipefail
# Each child is a group of its own: Ctrl-C comes to this script alone, which ends them in order.
set -m
PATH=$PATH:/usr/sbin

here=$(cd "$(dirname "$0")" && pwd)
server=$(cd "$here/../.." && pwd)/dist/main.js
run=$(mktemp -d)
php=
postroom=
front=

start() {
  fpm=$(php_fpm)
  for program in node nginx curl openssl; do
    command -v "$program" >/dev/null || fail "$program is not installed"
  done
  [ -n "$fpm" ] || fail 'php-fpm is not installed (Debian: apt install php-fpm php-curl php-sqlite3)'
  [ -f "$server" ] || fail 'Postroom is not built: npm ci && npm run build'
  site=127.0.0.1:${PORT:-8000}
  (exec 3<>"/dev/tcp/${site/://}") 2>/dev/null && fail "port ${site#*:} is taken; set PORT"
  trap end EXIT
  trap 'exit 0' INT TERM

  local port=${POSTROOM_PORT:-$(free_port)}
  export NOTIFY_KEYS=${NOTIFY_KEYS:-$(openssl rand -hex 32)} JWT_SECRET=${JWT_SECRET:-$(openssl rand -hex 32)}
  export WEBHOOK_SECRET=${WEBHOOK_SECRET:-whsec_$(openssl rand -base64 24)}
  # What PHP needs.
  export POSTROOM_URL=http://127.0.0.1:$port POSTROOM_KEY=${NOTIFY_KEYS%%,*} DATABASE=$run/site.sqlite

  start_php
  start_postroom "$port"
  start_nginx
  tell
  wait "$front"
}

start_php() {
  mkdir "$run/sessions"
  cat >"$run/php-fpm.conf" <<END
[global]
error_log = /dev/stderr
[www]
listen = $run/php.sock
listen.mode = 0666
pm = static
pm.max_children = 4
; PHP-FPM hides the environment otherwise.
clear_env = no
catch_workers_output = yes
php_admin_value[session.save_path] = $run/sessions
php_admin_value[error_log] = /dev/stderr
php_admin_flag[log_errors] = on
php_admin_flag[display_errors] = off
END
  local flags=(--nodaemonize --fpm-config "$run/php-fpm.conf")
  # As root only if root starts it: in a container, say.
  [ "$(id -u)" -ne 0 ] || flags+=(--allow-to-run-as-root)
  "$fpm" "${flags[@]}" >"$run/php.log" 2>&1 &
  php=$!
  until [ -S "$run/php.sock" ]; do still_there "$php" "$run/php.log"; done
}

# In a folder without an .env: its settings are those given here.
start_postroom() {
  (
    cd "$run"
    exec env HOST=127.0.0.1 PORT="$1" TRUST_PROXY=1 DRAIN_SECONDS=0 \
      ALLOWED_ORIGINS="http://$site,http://localhost:${site#*:}" \
      AUTH_URL="http://$site/auth.php" \
      WEBHOOK_URL="http://$site/chat/webhook.php" WEBHOOK_EVENTS=message \
      CALL_URL="http://$site/cart.php" \
      node "$server"
  ) >"$run/postroom.log" 2>&1 &
  postroom=$!
  until answers "$POSTROOM_URL/health/ready"; do still_there "$postroom" "$run/postroom.log"; done
}

start_nginx() {
  mkdir "$run/nginx"
  sed -e "s|\${LISTEN}|$site|; s|\${POSTROOM}|${POSTROOM_URL#http://}|; s|\${PHP}|$run/php.sock|; s|\${ROOT}|$here|" \
    "$here/nginx.conf" >"$run/nginx/nginx.conf"
  local settings='daemon off;'
  # Its workers would be another user, who may not read these folders.
  [ "$(id -u)" -ne 0 ] || settings+=" user $(id -un) $(id -gn);"
  nginx -p "$run/nginx" -c nginx.conf -g "$settings" &
  front=$!
  until answers "http://$site/site.css"; do still_there "$front" /dev/null; done
}

tell() {
  cat <<END

  Open       http://$site/, and again in a private window: that is a second user

  PHP-FPM    process $php, logs in $run/php.log
  Postroom   process $postroom, logs in $run/postroom.log
  SQLite     $DATABASE

  Ctrl-C ends all of them, and removes what was said.

END
}

# In the order in which they need each other.
end() {
  trap '' INT TERM
  for child in "$front" "$postroom" "$php"; do
    [ -z "$child" ] || { kill "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; }
  done
  rm -rf "$run"
}

php_fpm() {
  local folder program
  for folder in ${PATH//:/ }; do
    for program in "$folder"/php-fpm "$folder"/php-fpm[78].*; do
      [ ! -x "$program" ] || { echo "$program"; return; }
    done
  done
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

free_port() {
  node -e 'const s = net.createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

start
