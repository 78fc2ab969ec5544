export { Calls } from './calls.js';
export { Gateway } from './gateway.js';
export { PostroomProtocol } from './postroom/protocol.js';
export { type Every, TimerWheel } from './timer-wheel.js';
