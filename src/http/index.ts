export { type ListenAddress, Listener } from './listener.js';
