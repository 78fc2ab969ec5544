/** A receiver of webhooks that takes requests and never answers. It does not keep the process alive. */
import { once } from 'node:events';
import { createServer } from 'node:net';

const server = createServer(socket => {
  socket.on('error', () => {});
  socket.resume().unref();
}).listen(0, '127.0.0.1');
await once(server, 'listening');
server.unref();

/** The settings of a server whose webhooks go there. All of them wait. */
export const UNHEARD = {
  WEBHOOK_URL: `http://127.0.0.1:${server.address().port}/`,
  WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 'bench').toString('base64')}`,
  WEBHOOK_RETENTION_BYTES: `${1024 ** 3}`,
};
