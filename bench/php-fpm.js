/** PHP as it is run in production: nginx, and php-fpm with ten workers behind a Unix socket. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './processes.js';
import { lacksPrograms, pathOf } from './programs.js';

export const WORKERS = 10;

/** The key that signs the calls. */
export const SECRET = `whsec_${Buffer.from('bench-webhook-key-0123456789abcdef').toString('base64')}`;

const FPM = ['php-fpm', ...['8.5', '8.4', '8.3', '8.2', '8.1'].map(version => `php-fpm${version}`)];
const SCRIPTS = fileURLToPath(new URL('php', import.meta.url));

export function lacksPhp() {
  return lacksPrograms('nginx') ?? (fpm() ? undefined : 'php-fpm');
}

/** Resolves to the address of the scripts. */
export async function openPhp(directory, run) {
  const port = await freePort();
  const path = name => join(directory, name);
  mkdirSync(path('temp'));
  writeFileSync(path('fpm.conf'), fpmConfig(path));
  writeFileSync(path('nginx.conf'), nginxConfig(path, port));
  await run(
    fpm(),
    ['-n', '-F', '-O', '-R', '-d', 'zend_extension=opcache', '-y', path('fpm.conf')],
    /ready to handle/,
  );
  await run(
    pathOf('nginx'),
    ['-e', 'stderr', '-p', directory, '-c', path('nginx.conf')],
    /using the "epoll"/,
  );
  return `http://127.0.0.1:${port}/call.php`;
}

function fpm() {
  return FPM.map(pathOf).find(Boolean);
}

function fpmConfig(path) {
  return `[global]
error_log = ${path('fpm.log')}
daemonize = no
[www]
user = ${process.getuid()}
group = ${process.getgid()}
listen = ${path('fpm.sock')}
pm = static
pm.max_children = ${WORKERS}
env[WEBHOOK_SECRET] = "${SECRET}"
`;
}

/** In one process, so that its CPU is easy to count. */
function nginxConfig(path, port) {
  return `daemon off;
master_process off;
pid ${path('nginx.pid')};
error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 100000;
  client_body_temp_path ${path('temp')};
  fastcgi_temp_path ${path('temp')};
  server {
    listen 127.0.0.1:${port};
    location = /status { stub_status; }
    location ~ \\.php$ {
      fastcgi_pass unix:${path('fpm.sock')};
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param SCRIPT_FILENAME ${SCRIPTS}$uri;
    }
  }
}
`;
}
