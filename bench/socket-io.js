/**
 * The server that others write for a chat: Socket.IO with its defaults, `socket.to(room).emit` for each message of a
 * client. It checks that the client is in the room, and nothing else: no token, no rate, no journal. Socket.IO is no
 * dependency of ours: `npm install --prefix .cache/socket.io socket.io@4` brings it.
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { SOCKET_IO } from './socket-io-version.js';

const { Server } = createRequire(SOCKET_IO)('socket.io');
const server = createServer((_request, response) => response.end()); // /health/ready

new Server(server).on('connection', socket => {
  socket.join(socket.handshake.query.room);
  socket.on('publish', (room, event, data, acknowledge) => {
    if (!socket.rooms.has(room)) return;
    socket.to(room).emit(event, { room, from: { connection: socket.id, user: null }, data });
    acknowledge?.({ ok: true });
  });
});

server.listen(Number(process.env.PORT), '127.0.0.1');
