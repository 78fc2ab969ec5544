/**
 * Postroom is compared with this: the server that everybody writes first. Express and `ws` on one port, a Map of rooms,
 * `send` in a loop. It is as good as this design allows (one `stringify` per notification, no compression). It has no
 * key check, no validation, no journal and no back-pressure. Lists are sorted at each request.
 */
import { randomUUID } from 'node:crypto';
import express from 'express';
import jwt from 'jsonwebtoken';
import { WebSocket, WebSocketServer } from 'ws';

const rooms = new Map();
const sockets = new Map();
const app = express();

app.use(express.json());

app.get('/health/ready', (_request, response) => response.json({ status: 'ok' }));

app.post('/notify', (request, response) => {
  const { room, event, data } = request.body;
  const members = rooms.get(room) ?? new Set();
  const message = JSON.stringify({ type: 'notification', room, event, data });
  for (const member of members) {
    if (member.readyState === WebSocket.OPEN) member.send(message);
  }
  response.json({ connections: members.size });
});

app.get('/rooms', ({ query }, response) =>
  list(response, 'rooms', 'room', rooms.keys(), query, room => {
    const members = [...rooms.get(room)];
    return { room, connections: members.length, users: new Set(members.map(({ user }) => user)).size };
  }),
);

app.get('/rooms/:room/members', ({ params, query }, response) => {
  const connections = new Map();
  for (const { user } of rooms.get(params.room)) connections.set(user, (connections.get(user) ?? 0) + 1);
  list(response, 'members', 'user', connections.keys(), query, user => ({
    user,
    info: null,
    connections: connections.get(user),
  }));
});

app.get('/connections', ({ query }, response) =>
  list(response, 'connections', 'connection', sockets.keys(), query, id => ({
    connection: id,
    user: sockets.get(id).user ?? null,
    rooms: sockets.get(id).rooms,
  })),
);

const server = app.listen(Number(process.env.PORT), '127.0.0.1');

new WebSocketServer({ server }).on('connection', (socket, request) => {
  const query = new URL(request.url, 'http://localhost').searchParams;
  const joined = [...query.getAll('room'), ...(query.get('rooms')?.split(',') ?? [])];
  if (query.has('token') && !mayJoin(socket, query.get('token'), joined)) return socket.close(4501);
  const id = randomUUID();
  socket.rooms = joined;
  sockets.set(id, socket);
  for (const room of joined) {
    if (!rooms.has(room)) rooms.set(room, new Set());
    rooms.get(room).add(socket);
  }
  socket.on('close', () => {
    sockets.delete(id);
    for (const room of joined) {
      rooms.get(room).delete(socket);
      if (rooms.get(room).size === 0) rooms.delete(room);
    }
  });
});

function mayJoin(socket, token, joined) {
  try {
    const { sub, rooms } = jwt.verify(token, process.env.JWT_SECRET);
    socket.user = sub;
    return joined.every(room => rooms.includes(room));
  } catch {
    return false;
  }
}

/** A page of a list that is ordered by name. */
function list(response, what, name, names, { after = '', limit = 100 }, describe) {
  const behind = [...names].sort().filter(item => item > after);
  const items = behind.slice(0, limit).map(describe);
  response.json({ [what]: items, next: behind.length > limit ? items.at(-1)[name] : null });
}
