export { Listener, type Place } from './listener.js';
