export { type Caller, Door } from './door.js';
export { type Every, Timetable } from './timetable.js';
