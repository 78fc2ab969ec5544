import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach } from '@jest/globals';

export interface Proxy {
  readonly port: number;
  /** New connections lead to this port. Without a port they are closed at once. Open connections stay. */
  to(port: number | undefined): void;
  /** Breaks all connections, and accepts none until `to`. */
  cut(): void;
}

const proxies = new Map<Server, Set<Socket>>();

afterEach(() => {
  for (const [proxy, sockets] of proxies) {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  }
  proxies.clear();
});

/** A TCP proxy on 127.0.0.1: like a load balancer in front of changing servers, or a network that breaks. */
export async function startProxy(): Promise<Proxy> {
  let target: number | undefined;
  const sockets = new Set<Socket>();
  const proxy = createServer(client => {
    if (target === undefined) {
      client.destroy();
      return;
    }
    const server = connect(target, '127.0.0.1');
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  proxies.set(proxy, sockets);
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve));
  return {
    port: (proxy.address() as AddressInfo).port,
    to(port) {
      target = port;
    },
    cut() {
      target = undefined;
      for (const socket of sockets) socket.destroy();
    },
  };
}
