import { once } from 'node:events';
import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach } from '@jest/globals';

export interface Taken {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly url: string;
  readonly text: string;
  /** The text as JSON; undefined if there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever was posted.
  readonly body: any;
}

export type Reply =
  | { status: number; headers?: Record<string, string>; body: object | string; thenCut?: boolean }
  /** Takes the request, then cuts the connection. */
  | 'cut'
  /** Never answers. */
  | 'silence';

/** A server that is not Postroom and does as the test says. */
export interface Backend {
  /** `http://127.0.0.1:…`, or `unix:/…` */
  readonly url: string;
  readonly requests: readonly Taken[];
  /** TCP connections so far. */
  readonly connections: number;
}

const running = new Set<() => void>();

afterEach(() => {
  for (const stop of running) stop();
  running.clear();
});

export const RECEIPT = { status: 200, body: { id: '1-0', connections: 3, duplicate: false } } satisfies Reply;

/** `application/problem+json`, as Postroom answers. */
export function problem(status: number, code: string, headers: Record<string, string> = {}): Reply {
  const type = { 'content-type': 'application/problem+json' };
  return {
    status,
    headers: { ...type, ...headers },
    body: { type: 'urn:test', title: code, status, detail: `said ${code}`, code },
  };
}

/** Gives one reply after another; then repeats the last one. Stopped after the test. */
export function startBackend(...replies: Reply[]): Promise<Backend> {
  return listen(sequence(replies));
}

/** The same on a Unix socket. */
export function startSocketBackend(path: string, ...replies: Reply[]): Promise<Backend> {
  return listen(sequence(replies), path);
}

/**
 * Passes each request on to another server. If `keepsAnswer(n)` is true for the nth request, counted from 0, it does
 * not pass the answer on: it cuts the connection when the answer has come.
 */
export function startProxy(target: { url: string }, keepsAnswer: (n: number) => boolean): Promise<Backend> {
  let count = 0;
  return listen(async taken => {
    const keeps = keepsAnswer(count++);
    const answer = await fetch(target.url + taken.url, {
      method: taken.method,
      headers: {
        authorization: taken.headers.authorization ?? '',
        'content-type': taken.headers['content-type'] ?? '',
      },
      body: taken.text === '' ? null : taken.text,
    });
    const body = await answer.text();
    return keeps ? 'cut' : { status: answer.status, body };
  });
}

/** Sends a text at once that is no HTTP. */
export async function startGreeter(greeting: string): Promise<Pick<Backend, 'url' | 'connections'>> {
  let connections = 0;
  const open = new Set<net.Socket>();
  const server = net.createServer(socket => {
    connections++;
    open.add(socket.on('error', () => {}));
    socket.write(greeting);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  running.add(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
  };
}

/** An address at which nothing listens. */
export async function closedPort(): Promise<string> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://127.0.0.1:${port}`;
}

function sequence(replies: Reply[]): () => Promise<Reply> {
  let next = 0;
  return async () => replies[Math.min(next++, replies.length - 1)] ?? 'cut';
}

async function listen(reply: (taken: Taken) => Promise<Reply>, path?: string): Promise<Backend> {
  const requests: Taken[] = [];
  let connections = 0;
  const server = http.createServer((request, response) => {
    take(request)
      .then(async taken => {
        requests.push(taken);
        write(response, await reply(taken));
      })
      .catch(() => response.destroy());
  });
  server.on('connection', () => connections++);
  if (path === undefined) server.listen(0, '127.0.0.1');
  else server.listen(path);
  await once(server, 'listening');
  running.add(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: path === undefined ? `http://127.0.0.1:${(server.address() as AddressInfo).port}` : `unix:${path}`,
    requests,
    get connections() {
      return connections;
    },
  };
}

async function take(request: IncomingMessage): Promise<Taken> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const { method = '', url = '', headers } = request;
  return { method, headers, url, text, body: text === '' ? undefined : JSON.parse(text) };
}

function write(response: ServerResponse, reply: Reply): void {
  if (reply === 'silence') return;
  const { socket } = response;
  if (reply === 'cut') {
    socket?.destroy();
    return;
  }
  const body = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
  response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
  response.end(body, () => {
    if (reply.thenCut) socket?.destroy();
  });
}
