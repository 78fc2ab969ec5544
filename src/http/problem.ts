import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PROBLEM_TYPE, type Problem, problemAnswer } from '../model/problem.js';

// How long to wait for a peer that does not take its answer.
const REFUSE_MS = 2000;

export function sendProblem(response: ServerResponse, problem: Problem): void {
  const body = JSON.stringify(problem);
  const headers = {
    'Content-Type': PROBLEM_TYPE,
    'Content-Length': Buffer.byteLength(body),
    // RFC 9111 §4.2.2: otherwise a cache may keep a 404, and the connection may come.
    'Cache-Control': 'no-store',
  };
  response.writeHead(problem.status, { ...headers, ...problem.headers }).end(body);
}

/** Answers with a problem on a bare socket. Closes it when the answer has left, after two seconds at the latest. */
export function refuse(socket: Socket, problem: Problem): void {
  socket.setTimeout(REFUSE_MS, destroy);
  socket.end(problemAnswer(problem), () => socket.destroy());
}

function destroy(this: Socket): void {
  this.destroy();
}
