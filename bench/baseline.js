/**
 * Postroom is compared with this: the server that everybody writes first. Express and `ws` on one port, a Map of rooms,
 * `send` in a loop. It is as good as this design allows (one `stringify` per notification, no compression). It has no
 * key check, no validation, no journal and no back-pressure.
 */
import express from 'express';
import jwt from 'jsonwebtoken';
import { WebSocket, WebSocketServer } from 'ws';

const rooms = new Map();
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

const server = app.listen(Number(process.env.PORT), '127.0.0.1');

new WebSocketServer({ server }).on('connection', (socket, request) => {
  const query = new URL(request.url, 'http://localhost').searchParams;
  const room = query.get('room');
  if (query.has('token') && !mayJoin(query.get('token'), room)) return socket.close(4501);
  if (!rooms.has(room)) rooms.set(room, new Set());
  rooms.get(room).add(socket);
  socket.on('close', () => rooms.get(room).delete(socket));
});

function mayJoin(token, room) {
  try {
    return jwt.verify(token, process.env.JWT_SECRET).rooms.includes(room);
  } catch {
    return false;
  }
}
