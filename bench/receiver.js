/** Takes webhooks and does nothing with them. Prints when it listens on the port that it was told. */
import { createServer } from 'node:http';

createServer((request, response) => {
  request.resume();
  request.once('end', () => response.writeHead(204).end());
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
